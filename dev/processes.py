"""Processes that are nobody's child: started apart from this one and told apart by their start time.

A pid alone may be another process by tomorrow, so a process is its pid and the moment it started.
"""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from dev import accounts

_POLL_SECONDS = 0.02
_DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)

# The shell leaves at once, so that the server is reaped by the system, whoever waits for it or not.
_LAUNCH = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'

# Blocks until the pipe closes, which it does however its holder dies.
_GUARD = 'read -r _; kill -s "$1" "$2" 2>/dev/null'


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
) -> psutil.Process | None:
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


def find(pid: int, born: float | None = None) -> psutil.Process | None:
    """The live process with this pid, if there is one, and if it is the one that was `born` then."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if alive([process]) and (born is None or abs(birth(process) - born) < 1):
            return process
    return None


def birth(process: psutil.Process) -> float:
    """When it started, in seconds after the boot: the time of day would change with the clock that tells it."""
    return process.create_time() - psutil.boot_time()


def family(root: psutil.Process) -> list[psutil.Process]:
    """`root`, where it is alive, and all that descend from it."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def alive(processes: Iterable[psutil.Process]) -> bool:
    """Whether one of them still runs; a zombie does not."""
    return any(process.is_running() and not is_zombie(process.pid) for process in processes)


def is_zombie(pid: int) -> bool:
    """Whether this process is dead, yet nobody has asked for its exit code."""
    try:
        return psutil.Process(pid).status() in _DEAD
    except psutil.NoSuchProcess:
        return False


def send(process: psutil.Process, signum: signal.Signals) -> None:
    """Signal the process, where it is still the one we mean."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signum)


def kill(root: psutil.Process, also: Iterable[psutil.Process] = (), seconds: float = 10.0) -> None:
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

    def __init__(self, process: psutil.Process, signum: signal.Signals) -> None:
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
