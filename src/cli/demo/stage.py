"""What the demo runs on: a database of its own, and a service of its own as a child process."""

import asyncio
import os
import signal
import sys
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import asyncpg

from src import wire
from src.cli.target import Target

DATABASE = "db_demo"
MAIN = Path(__file__).parents[3] / "main.py"
STOP_SECONDS = 40.0
LOG_LINES = 20


class StageError(Exception):
    """A child process did not do what it is there for."""


@dataclass(frozen=True)
class Stage:
    """Where the demo plays. ``log`` keeps the last lines that the child processes have written."""

    target: Target
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))

    @property
    def names(self) -> wire.Names:
        return wire.Names(self.target.service)

    @property
    def queues(self) -> tuple[str, ...]:
        names = self.names
        return (names.partition(0), names.reads, names.unrouted, names.dead)

    @property
    def exchanges(self) -> tuple[str, ...]:
        names = self.names
        return (names.requests, names.writes, names.events, names.unrouted, names.dead)

    async def migrate(self) -> None:
        """Make the tables. Raises StageError."""
        process = await self.run("migrate")
        if await process.wait():
            raise StageError("the migration failed")

    async def run(self, command: str) -> asyncio.subprocess.Process:
        """Start ``main.py`` with a command, in a session of its own: a Ctrl-C is for the demo alone."""
        settings = {
            "DATABASE_URL": self.target.database_url,
            "RABBITMQ_URL": self.target.rabbitmq_url,
            "SERVICE_NAME": self.target.service,
            "WRITE_PARTITIONS": "1",
            "LOG_FORMAT": "text",
            "LOG_LEVEL": "INFO",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, MAIN, command,
            env=os.environ | settings, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stderr  # noqa: S101 - it is a pipe
        self._reading.append(asyncio.create_task(_keep(process.stderr, self.log)))
        return process
