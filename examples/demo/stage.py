"""What the demo plays on: a database of its own, and a service of its own in a child process."""

import asyncio
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import aio_pika
import asyncpg

from src import wire
from src.cli.target import Target
from src.client import Client, NoService
from src.errors import Problem

DATABASE = "db_demo"
MAIN = Path(__file__).parents[2] / "main.py"
START_SECONDS = 30.0
STOP_SECONDS = 40.0
RETRY_PAUSE = 0.2
LOG_LINES = 20


class StageError(Exception):
    """The demo cannot go on: a server is away, or a child process failed."""


@dataclass
class Stage:
    """``target`` is where the demo's own service is. Its ``log`` is what the child processes have written."""

    target: Target
    log: IO[bytes]
    service: asyncio.subprocess.Process | None = None

    @property
    def names(self) -> wire.Names:
        return wire.Names(self.target.service)

    @property
    def queues(self) -> tuple[str, ...]:
        return (self.names.partition(0), self.names.reads, self.names.unrouted, self.names.dead)

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
            queues = [await channel.get_queue(name) for name in self.queues]
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
            "WRITE_PARTITIONS": "1",
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
    """An empty database, and in the end nothing of what the demo left. Raises StageError."""
    url = urlsplit(target.database_url)._replace(path=f"/{DATABASE}").geturl()
    with tempfile.TemporaryFile("a+b") as log:
        stage = Stage(Target(target.rabbitmq_url, url, f"db-demo-{uuid.uuid4().hex[:8]}"), log)
        async with AsyncExitStack() as at_the_end:
            await _drop_database(target)
            at_the_end.push_async_callback(_drop_database, target)
            await _maintain(target, f"CREATE DATABASE {DATABASE}")
            at_the_end.push_async_callback(_delete_queues, stage)
            at_the_end.push_async_callback(stage.stop)
            yield stage


async def _drop_database(target: Target) -> None:
    await _maintain(target, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


async def _maintain(target: Target, statement: str) -> None:
    try:
        connection = await asyncpg.connect(target.database_url, database="postgres", timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError) as error:
        raise StageError(f"PostgreSQL: {str(error) or type(error).__name__}") from error


async def _delete_queues(stage: Stage) -> None:
    names = stage.names
    async with await aio_pika.connect(stage.target.rabbitmq_url) as connection:
        channel = await connection.channel()
        for queue in stage.queues:
            await channel.queue_delete(queue)
        for exchange in (names.requests, names.events, names.unrouted, names.dead):
            await channel.exchange_delete(exchange)
