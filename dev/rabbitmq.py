"""A private RabbitMQ node, from the `rabbitmq-server` that this system has installed."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev import accounts, amqp, nodes

# Debian's commands on the PATH are wrappers that insist on their own account and folders; the scripts
# behind them do as they are told.
_BEHIND_WRAPPERS = Path("/usr/lib/rabbitmq/bin")
_SEARCH_PATH = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/opt/homebrew/sbin", "/usr/local/opt/rabbitmq/sbin"))
_CTL_SECONDS = 60.0


class NotInstalledError(nodes.StartError):
    """This system has no `rabbitmq-server`."""


def scripts() -> Path | None:
    """The folder that holds `rabbitmq-server` and `rabbitmqctl`, where they are installed."""
    if (_BEHIND_WRAPPERS / "rabbitmq-server").exists():
        return _BEHIND_WRAPPERS
    found = shutil.which("rabbitmq-server") or shutil.which("rabbitmq-server", path=_SEARCH_PATH)
    return Path(found).parent if found else None


def end_port_mapper() -> None:
    """End `epmd`, which the first node of a host starts; it refuses while any node lives, whosever it is."""
    if epmd := shutil.which("epmd"):
        subprocess.run([epmd, "-kill"], check=False, capture_output=True, timeout=_CTL_SECONDS)


class RabbitServer(nodes.Node):
    """One RabbitMQ node with the user guest; `plugins` are enabled by name before it boots, `limits` set by name.

    The port mapper `epmd` is shared by all nodes of a host: the first one starts it, `end_port_mapper` ends it.
    """

    kind = "RabbitMQ"
    start_seconds = 120.0
    runs_as = ("rabbitmq", "nobody")
    ports_needed = 2
    stop_signal = signal.SIGTERM
    abandon_signal = signal.SIGKILL

    def __init__(
        self,
        folder: Path | str,
        port: int | None = None,
        plugins: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
        *,
        outlives: bool = False,
    ) -> None:
        super().__init__(folder, port, outlives=outlives)
        self.plugins = tuple(plugins)
        self.limits = dict(limits or {})

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def name(self) -> str:
        """The node's name in Erlang's distribution."""
        return f"db-{self.port}@localhost"

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints for this node; `CalledProcessError`, with its stderr, where it fails."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self._script("rabbitmqctl"), "--quiet", "--node", self.name, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=_CTL_SECONDS,
            cwd=self.home,
            env=self.environment(),
            **accounts.as_account(self.account),
        )
        return done.stdout

    def prepare(self) -> None:
        self._write("rabbitmq.conf", f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        self._write("enabled_plugins", f"[{','.join(self.plugins)}].\n")
        # Empty ones of our own, else the node would read the system's.
        limits = ",".join(f"{{{name},{value}}}" for name, value in self.limits.items())
        self._write("advanced.config", f"[{{rabbit,[{limits}]}}].\n")
        self._write("rabbitmq-env.conf", "")

    def command(self) -> Sequence[str | Path]:
        return [self._script("rabbitmq-server")]

    def environment(self) -> Mapping[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.home),  # holds a cookie of its own: no other node's commands get in
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._state.ports[1]),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            # The start script then turns into the node itself, and a signal to it is one to the node.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def answers(self) -> bool:
        return amqp.lets_in(self.url)

    def _write(self, name: str, text: str) -> None:
        path = self.home / name
        path.write_text(text)
        if self.account is not None:
            shutil.chown(path, self.account.uid, self.account.gid)

    @staticmethod
    def _script(name: str) -> Path:
        folder = scripts()
        if folder is None:
            raise NotInstalledError("a private RabbitMQ needs `rabbitmq-server`, which is not installed")
        return folder / name
