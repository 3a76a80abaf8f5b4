"""The service in a process of its own that is forked from one that has imported everything: it starts at once."""

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import config
import main
from tests import crash, harness

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["__main__", "tests.forked"])


class Forked(harness.Process):
    """Differs from ``main.py serve`` in nothing but its start; with a ``point`` it kills itself there."""

    def __init__(self, settings: config.Settings, point: str | None = None, **more: str) -> None:
        super().__init__(settings, **more)
        self._point = point

    async def _start(self) -> Any:
        ours, its = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=_serve, args=(self._environment, its, self._point))
        await asyncio.to_thread(process.start)
        its.close()
        stderr = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stderr), ours)
        return _Child(process, stderr)


class _Child:
    """As much of ``asyncio.subprocess.Process`` as the harness asks for."""

    def __init__(self, process: ForkServerProcess, stderr: asyncio.StreamReader) -> None:
        self._process = process
        self.stderr = stderr

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid or 0, number)

    async def wait(self) -> int | None:
        await asyncio.to_thread(self._process.join)
        return self.returncode


def _serve(environment: dict[str, str], stderr: Connection, point: str | None) -> None:
    os.chdir(harness.ROOT)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    if point:
        crash.die_at(point)
    main.app(["serve"])
