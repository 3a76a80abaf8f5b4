"""A server of our own on this machine: its folder, its ports, its process, and their end."""

import atexit
import contextlib
import json
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import psutil

from dev import accounts, ports, processes

_STOP_SECONDS = 30.0
_LOG_TAIL = 15


class StartError(RuntimeError):
    """The server did not come up; the message ends with the end of its log."""


@dataclass(frozen=True)
class State:
    """What a later process must know of a server; kept in `server.json` in its folder."""

    ports: tuple[int, ...]
    home: str
    pid: int | None = None
    born: float | None = None


class Node(ABC):
    """A private server at 127.0.0.1.

    It keeps its port and its data over `stop`, `kill` and `start`. It ends with this process, even
    with a killed one, unless it `outlives` it; then a later `Node` on the same folder finds it.
    """

    kind: ClassVar[str]
    start_seconds: ClassVar[float]
    runs_as: ClassVar[tuple[str, ...]]
    ports_needed: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals]
    abandon_signal: ClassVar[signal.Signals]

    def __init__(self, folder: Path | str, port: int | None = None, *, outlives: bool = False) -> None:
        self.folder = Path(folder).absolute()
        self.account = accounts.unprivileged(*self.runs_as)
        self._outlives = outlives
        self._guard: processes.Guard | None = None
        self._state = self._recorded() or State((), "")
        if not self.running and not self._ports_still_fit(port):
            chosen = ports.free(self.ports_needed)
            self._state = State((port or chosen[0], *chosen[1:]), self._state.home)

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a client connects, with its credentials."""

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server needs in `home` before it starts."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What starts the server in the foreground."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The whole environment of the server."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client is let in now."""

    @property
    def port(self) -> int:
        return self._state.ports[0]

    @property
    def home(self) -> Path:
        """The server's own folder, which may lie elsewhere than `folder`; set by `start`."""
        return Path(self._state.home)

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    @property
    def pid(self) -> int | None:
        return self._state.pid if self.running else None

    @property
    def running(self) -> bool:
        """Whether its process lives; it may not answer yet."""
        return self._process is not None

    def start(self) -> None:
        """Start the server where it does not run and return once it answers; else `StartError`."""
        if not self.running:
            self._settle()
            self.prepare()
            self._launch()
        if not processes.wait_until(lambda: self.answers() or not self.running, self.start_seconds):
            self.kill()
            raise StartError(f"{self.kind} gave no answer for {self.start_seconds:.0f} s:\n{self._tail()}")
        if not self.running:
            raise StartError(f"{self.kind} ended at its start:\n{self._tail()}")

    def stop(self) -> None:
        """End the server the gentle way; by force where that takes too long."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server by kill -9, without a goodbye; no child of it is left on return."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """`stop`, then `start` on the same port with the same data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._abandon()

    @property
    def _process(self) -> psutil.Process | None:
        return processes.find(self._state.pid, self._state.born) if self._state.pid else None

    def _settle(self) -> None:
        home = self._state.home
        if not home or not Path(home).is_dir() or not accounts.reaches(Path(home), self.account):
            home = str(accounts.own_folder(self.folder / "home", self.account))
        self._record(State(self._state.ports, home))

    def _launch(self) -> None:
        process = processes.launch(
            self.command(), log=self.log, folder=self.home, environment=self.environment(), account=self.account
        )
        if process is None:
            raise StartError(f"{self.kind} ended at its start:\n{self._tail()}")
        if not self._outlives:
            self._guard = processes.Guard(process, self.abandon_signal)
            atexit.register(self._abandon)
        self._record(State(self._state.ports, self._state.home, process.pid, processes.birth(process)))

    def _end(self, signum: signal.Signals) -> None:
        process = self._process
        if process is not None:
            members = processes.family(process)
            if signum != signal.SIGKILL:
                processes.send(process, signum)
                processes.wait_until(lambda: not processes.alive(members), _STOP_SECONDS)
            processes.kill(process, also=members)
        self._let_go()

    def _let_go(self) -> None:
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None
        atexit.unregister(self._abandon)
        if self._state.pid is not None:
            self._record(State(self._state.ports, self._state.home))

    def _abandon(self) -> None:
        """End the server for good; a folder that it was given elsewhere goes with it."""
        self._end(self.abandon_signal)
        if self._state.home and self.folder not in self.home.parents:
            shutil.rmtree(self.home, ignore_errors=True)

    def _ports_still_fit(self, port: int | None) -> bool:
        recorded = self._state.ports
        return len(recorded) == self.ports_needed and port in (None, recorded[0]) and all(map(ports.is_free, recorded))

    def _recorded(self) -> State | None:
        try:
            record = json.loads((self.folder / "server.json").read_text())
        except FileNotFoundError:
            return None
        return State(tuple(record["ports"]), record["home"], record.get("pid"), record.get("born"))

    def _record(self, state: State) -> None:
        self._state = state
        # A test's folder may be gone before its server is.
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "server.json").write_text(json.dumps(asdict(state)))

    def _tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(lines[-_LOG_TAIL:])
