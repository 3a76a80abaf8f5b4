"""A program that runs, what it says, and its end."""

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Self

from tests.support import forked

DEADLINE = 60  # seconds after which what has not happened will not happen


class Started:
    """A program in a process of its own; with a ``point`` it kills itself there."""

    def __init__(self, program: Sequence[str], environment: Mapping[str, str], point: str | None = None) -> None:
        self.log: list[str] = []
        self._program = program
        self._environment = environment
        self._point = point
        self._line = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._child = await asyncio.to_thread(self._start)
        self._stderr = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(self._stderr)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, self._child.stderr)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.running:
            self.kill()
        await self.wait()

    @property
    def running(self) -> bool:
        return self._child.returncode is None

    @property
    def pid(self) -> int:
        return self._child.pid

    async def says(self, text: str, times: int = 1) -> str:
        """The last of so many lines of its log that hold the text, once they are there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE), self._line:
                await self._line.wait_for(lambda: len(self._said(text)) >= times or self._stderr.at_eof())
        if len(said := self._said(text)) < times:
            raise AssertionError(f"has not said {text!r}:\n" + "".join(self.log[-20:]))
        return said[times - 1]

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    async def wait(self) -> int | None:
        """Its exit code, when it has ended."""
        async with asyncio.timeout(DEADLINE):
            code = await asyncio.to_thread(self._child.wait)
            await self._reading
        return code

    def _start(self) -> forked.Child | subprocess.Popen[bytes]:
        return forked.Child(self._program, self._environment, self._point)

    def _said(self, text: str) -> list[str]:
        return [line for line in self.log if text in line]

    async def _read(self) -> None:
        async for line in self._stderr:
            async with self._line:
                self.log.append(line.decode())
                self._line.notify_all()
        async with self._line:
            self._line.notify_all()
