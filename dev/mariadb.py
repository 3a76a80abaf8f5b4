"""A private MariaDB, from the `mariadbd` that this system has installed."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev import accounts, database, nodes

_SEARCH_PATH = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/opt/mariadb/bin"))


class NotInstalledError(nodes.StartError):
    """This system has no `mariadbd`."""


def program(name: str) -> Path | None:
    """Where one of MariaDB's programs is, if it is installed."""
    found = shutil.which(name) or shutil.which(name, path=_SEARCH_PATH)
    return Path(found) if found else None


class MariaServer(nodes.Node):
    """MariaDB with the superuser root and no password; `settings` are the server's, by name.

    Without `durable` it does not wait for the disk: a killed server still loses nothing, a crash of the machine may.
    """

    kind = "MariaDB"
    start_seconds = 60.0
    runs_as = ("mysql", "nobody")
    stop_signal = signal.SIGTERM
    abandon_signal = signal.SIGKILL

    def __init__(
        self,
        folder: Path | str,
        port: int | None = None,
        settings: Mapping[str, object] | None = None,
        *,
        durable: bool = True,
        outlives: bool = False,
    ) -> None:
        super().__init__(folder, port, outlives=outlives)
        self.settings = dict(settings or {}) | ({} if durable else {"innodb_flush_log_at_trx_commit": 2})

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/mysql"

    def prepare(self) -> None:
        if self._data.exists():
            return
        # Renamed when whole, so that an interrupted installation leaves no half data behind.
        draft = self.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        install = subprocess.run(
            [
                *(_installed("mariadb-install-db"), "--no-defaults", f"--datadir={draft}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.home,
            env=self.environment(),
            **accounts.as_account(self.account),
        )
        if install.returncode != 0:
            raise nodes.StartError(f"mariadb-install-db failed:\n{install.stdout}{install.stderr}")
        draft.rename(self._data)

    def command(self) -> Sequence[str | Path]:
        settings = {
            "datadir": self._data,
            "bind_address": "127.0.0.1",
            "port": self.port,
            "socket": self.home / "mariadb.sock",
            "pid_file": self.home / "mariadb.pid",
            "skip_name_resolve": "on",
            **self.settings,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [_installed("mariadbd"), "--no-defaults", *options]

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.pathsep.join((os.defpath, _SEARCH_PATH)), "LC_ALL": "C", "TZ": "UTC"}

    def answers(self) -> bool:
        return database.may_create(self.url)

    @property
    def _data(self) -> Path:
        return self.home / "data"


def _installed(name: str) -> Path:
    found = program(name)
    if found is None:
        raise NotInstalledError(f"a private MariaDB needs `{name}`, which is not installed")
    return found
