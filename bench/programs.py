"""What is measured, and how a program is run: in a process of its own, with a line in and a line out."""

import asyncio
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.stage import Failed, Scene, Stage
from bench.stopwatch import Job, Measure

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "bench/peers/node"
LAST_WORDS = 2000  # characters of a failed program's stderr
PATIENCE = (60, 0.05)  # seconds that a program may take: always, and a message

type Set = Callable[[Stage], AbstractAsyncContextManager[Scene]]


@dataclass(frozen=True)
class Servers:
    """Where both servers are; the database is migrated and our own."""

    rabbitmq_url: str
    database_url: str


@dataclass(frozen=True)
class Program:
    """``set`` is the stage that it is measured on, ``about`` what it does for a message."""

    name: str
    about: str
    command: tuple[str, ...]
    set: Set

    async def measure(self, stage: Stage, servers: Servers, messages: int, profile: Path | None = None) -> Measure:
        """Run it once over so many messages. Raises Failed where it did not serve them."""
        async with self.set(stage) as scene:
            job = Job(
                messages=messages,
                rabbitmq_url=servers.rabbitmq_url,
                database_url=servers.database_url,
                requests=scene.requests,
                service=scene.service,
                results=scene.results[0] if scene.results else "",
                profile=str(profile) if profile else None,
            )
            try:
                async with asyncio.timeout(PATIENCE[0] + PATIENCE[1] * messages):
                    measure = await _run(self.command, job)
                    await stage.check(scene)
            except Failed as error:
                raise Failed(f"{self.name}: {error}") from error
            except TimeoutError:
                raise Failed(f"{self.name}: not done in time") from None
            return measure


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


PROGRAMS = (
    Program(
        "raw_echo",
        "aio-pika: publish the body, ack",
        _python("bench.peers.raw_echo"),
        lambda stage: stage.queue_to_queue(),
    ),
    Program(
        "faststream_echo",
        "FastStream: a typed handler, a publisher",
        _python("bench.peers.faststream_echo"),
        lambda stage: stage.queue_to_queue(),
    ),
    Program(
        "tutorial",
        "FastStream, SQLAlchemy, a transaction a message",
        _python("bench.peers.tutorial"),
        lambda stage: stage.queue_to_queue("queries"),
    ),
    Program(
        "service",
        "this service, its event",
        _python("bench.service"),
        lambda stage: stage.service(reply=False),
    ),
    Program(
        "service_reply",
        "this service, its event and its reply",
        _python("bench.service"),
        lambda stage: stage.service(reply=True),
    ),
    Program(
        "node",
        "Node.js, amqplib, pg, a transaction a message",
        ("node", str(NODE / "index.js")),
        lambda stage: stage.queue_to_queue("queries"),
    ),
    *(
        Program(
            f"asyncpg_{way}",
            "rows alone, a hundred at a time",
            _python("bench.peers.asyncpg_rows", way),
            lambda stage: stage.rows_only(),
        )
        for way in ("unnest", "executemany", "copy")
    ),
)


async def install_node() -> str | None:
    """Install what the Node.js program needs, once; why that is not possible, or None."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        return "node and npm are not both here"
    if (NODE / "node_modules/.package-lock.json").exists():
        return None
    process = await asyncio.create_subprocess_exec(
        *(npm, "ci", "--prefer-offline", "--no-audit", "--no-fund"),
        cwd=NODE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return f"npm ci failed: {said.decode()[-LAST_WORDS:]}" if process.returncode else None


async def _run(command: tuple[str, ...], job: Job) -> Measure:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate(job.line())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failed(f"ended with {process.returncode}:\n{err.decode()[-LAST_WORDS:]}")
    return Measure(**json.loads(out.splitlines()[-1]))
