"""What the demo plays on: a database of its own, and a service of its own in a child process."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import aio_pika

from examples import sandbox
from src import wire
from src.cli.target import Target
from src.client import Client, NoService
from src.errors import Problem

MAIN = Path(__file__).parents[2] / "main.py"
PARTITIONS = 1
START_SECONDS = 30.0
STOP_SECONDS = 40.0
RETRY_PAUSE = 0.2
LOG_LINES = 20


class StageError(Exception):
    """The demo cannot go on: a child process failed."""


@dataclass
class Stage:
    """``target`` is where the demo's own service is. Its ``log`` is what the child processes have written."""

    target: Target
    log: IO[bytes]
    service: asyncio.subprocess.Process | None = None

    async def migrate(self) -> None:
        """Make the tables. Raises StageError."""
        process = await self._run("migrate")
        if code := await process.wait():
            raise StageError(f"`main.py migrate` ended with exit code {code}")

    async def serve(self, db: Client) -> None:
        """Start the service and wait until it answers. Raises StageError."""
        self.service = await self._run("serve")
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._until_answered(db)
        except TimeoutError:
            raise StageError(f"the service did not answer within {START_SECONDS:g} s") from None

    async def stop(self) -> int | None:
        """End the service as an operator would, by SIGTERM; its exit code, None where it was never started."""
        if self.service is None:
            return None
        if self.service.returncode is None:
            self.service.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self.service.wait()
        except TimeoutError:
            self.service.kill()
            return await self.service.wait()

    async def waiting(self) -> dict[str, int]:
        """How many messages each queue of the service holds."""
        async with await aio_pika.connect(self.target.rabbitmq_url) as connection:
            channel = await connection.channel()
            queues = [await channel.get_queue(name) for name in wire.Names(self.target.service).queues(PARTITIONS)]
            return {queue.name: queue.declaration_result.message_count or 0 for queue in queues}

    def last_lines(self) -> str:
        """The end of the log."""
        self.log.seek(0)
        return "\n".join(self.log.read().decode(errors="replace").splitlines()[-LOG_LINES:])

    async def _until_answered(self, db: Client) -> None:
        while True:
            if self.service and self.service.returncode is not None:
                raise StageError(f"`main.py serve` ended with exit code {self.service.returncode}")
            with suppress(NoService, Problem):
                await db.call("user.count")
                return
            await asyncio.sleep(RETRY_PAUSE)

    async def _run(self, command: str) -> asyncio.subprocess.Process:
        """In a session of its own: a Ctrl-C is for the demo, which ends its children itself."""
        settings = {
            "DATABASE_URL": self.target.database_url,
            "RABBITMQ_URL": self.target.rabbitmq_url,
            "SERVICE_NAME": self.target.service,
            "WRITE_PARTITIONS": str(PARTITIONS),
            "LOG_FORMAT": "text",
            "LOG_LEVEL": "INFO",
        }
        return await asyncio.create_subprocess_exec(
            *(sys.executable, MAIN, command),
            env=os.environ | settings,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )


@asynccontextmanager
async def build(target: Target) -> AsyncIterator[Stage]:
    """An empty database and a service name, and in the end nothing of what the demo left. Raises SandboxError."""
    async with (
        sandbox.database(target.database_url, "db_demo") as database_url,
        sandbox.service(target.rabbitmq_url, "db-demo", PARTITIONS) as names,
    ):
        with tempfile.TemporaryFile("a+b") as log:
            stage = Stage(Target(target.rabbitmq_url, database_url, names.service), log)
            try:
                yield stage
            finally:
                await stage.stop()
