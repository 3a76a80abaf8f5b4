"""Programs in forks of a process that has imported everything: they start at once, and differ in nothing else."""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.faults import crash

ROOT = Path(__file__).parents[2]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["__main__", "alembic.config", "bench.report", "bench.rounds", "main", "tests.support.forked"]
)


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it printed."""

    code: int | None
    out: str
    err: str


class Child:
    """A program that runs; what it says on stderr comes by a pipe."""

    def __init__(self, program: Sequence[str], environment: Mapping[str, str], point: str | None = None) -> None:
        self.stderr, its = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(target=_tell, args=(program, dict(environment), its, point))
        self._process.start()
        its.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int | None:
        self._process.join()
        return self.returncode


def run(*program: str, **environment: str) -> Ended:
    """Run a program, a file or a module, to its end; the environment is ours and what is given."""
    with tempfile.TemporaryDirectory() as folder:
        process: ForkServerProcess = FORKS.Process(target=_print, args=(program, os.environ | environment, folder))
        process.start()
        process.join()
        out, err = ((Path(folder) / name).read_text() for name in ("out", "err"))
    return Ended(process.exitcode, out, err)


def _tell(program: Sequence[str], environment: Mapping[str, str], stderr: Connection, point: str | None) -> None:
    os.dup2(stderr.fileno(), sys.stderr.fileno())
    stderr.close()
    if point:
        crash.die_at(point)
    _become(program, environment)


def _print(program: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        with (Path(folder) / name).open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    _become(program, environment)


def _become(program: Sequence[str], environment: Mapping[str, str]) -> None:
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [*program]
    if program[0].endswith(".py"):
        runpy.run_path(program[0], run_name="__main__")
    else:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
