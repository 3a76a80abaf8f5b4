"""Processes that are nobody's child: started apart from this one and told apart by their start time.

A pid alone may be another process by tomorrow, so a process is its pid and the moment it started.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev import accounts

_POLL_SECONDS = 0.02

# The shell leaves at once, so that the server is reaped by the system, whoever waits for it or not.
_LAUNCH = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'

# Blocks until the pipe closes, which it does however its holder dies.
_GUARD = 'read -r _; kill -s "$1" "$2" 2>/dev/null'


@dataclass(frozen=True)
class Process:
    """One live process; equal to another only where it is the very same one."""

    pid: int
    started: str


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll `condition`; False where it did not hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def launch(
    command: Sequence[str | Path],
    *,
    log: Path,
    folder: Path,
    environment: Mapping[str, str],
    account: accounts.Account | None,
) -> Process | None:
    """Start `command` in its own session, outliving us; None where it was gone before we could look."""
    shell = subprocess.run(
        ["/bin/sh", "-c", _LAUNCH, "launch", log, *command],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=folder,
        env=dict(environment),
        start_new_session=True,
        **accounts.as_account(account),
    )
    return find(int(shell.stdout))


def find(pid: int) -> Process | None:
    """The live process with this pid, if there is one."""
    return next((process for process, _ in _table() if process.pid == pid), None)


def family(root: Process) -> list[Process]:
    """`root`, where it is alive, and all that descend from it."""
    table = _table()
    members = [process for process, _ in table if process == root]
    for member in members:
        members += [process for process, parent in table if parent == member.pid]
    return members


def alive(processes: Iterable[Process]) -> bool:
    """Whether one of them still runs; a zombie does not."""
    wanted = set(processes)
    return any(process in wanted for process, _ in _table())


def is_zombie(pid: int) -> bool:
    """Whether this process is dead, yet nobody has asked for its exit code."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return find(pid) is None


def send(process: Process, signum: signal.Signals) -> None:
    """Signal the process, where it is still the one we mean."""
    if find(process.pid) == process:
        try:
            os.kill(process.pid, signum)
        except ProcessLookupError:
            return


def kill(root: Process, also: Iterable[Process] = (), seconds: float = 10.0) -> None:
    """Kill -9 `root`, its descendants and `also`; all are gone on return, else `TimeoutError`."""
    # A stopped parent forks no child between our look at its family and their end.
    send(root, signal.SIGSTOP)
    members = {*family(root), *also}
    for member in members:
        send(member, signal.SIGKILL)
    if not wait_until(lambda: not alive(members), seconds):
        raise TimeoutError(f"process {root.pid} or a child of it survived kill -9")


class Guard:
    """Signals a process when this one is gone, even by kill -9; `dismiss` it before that."""

    def __init__(self, process: Process, signum: signal.Signals) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", signum.name.removeprefix("SIG"), str(process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """End the guard and spare the process."""
        self._shell.kill()
        self._shell.communicate()


def _table() -> list[tuple[Process, int]]:
    """Every live process with its parent's pid."""
    return _read_proc() if sys.platform == "linux" else _read_ps()


def _read_proc() -> list[tuple[Process, int]]:
    rows = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        # The name before the last ")" may hold blanks; fields 3, 4 and 22 of proc(5) follow it.
        fields = stat.rpartition(")")[2].split()
        if fields[0] not in "ZX":
            rows.append((Process(int(folder.name), fields[19]), int(fields[1])))
    return rows


def _read_ps() -> list[tuple[Process, int]]:
    columns = ["ps", "-A", "-o", "pid=,ppid=,stat=,lstart="]
    listing = subprocess.run(columns, capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 3) for line in listing.splitlines()]
    return [(Process(int(pid), at), int(parent)) for pid, parent, state, at in rows if state[0] != "Z"]
