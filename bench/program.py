"""A program that is measured: its process, its stage, its proof."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import callers, processes
from bench.scene import Failed, Scene
from bench.stage import Stage
from bench.stopwatch import Job, Measure

PATIENCE = 60  # seconds that a program may take beside those that it is measured for

type Set = Callable[[Stage, int], AbstractAsyncContextManager[Scene]]


@dataclass(frozen=True)
class Servers:
    """Where both servers are; the database is migrated and our own."""

    rabbitmq_url: str
    database_url: str


@dataclass(frozen=True)
class Program:
    """``set`` is the stage that it is measured on with so many messages, ``about`` what it does for a message.

    ``rate`` is how many messages a second it is expected to serve on a fast machine, before anybody knows better;
    0 for one that is called.
    """

    name: str
    about: str
    command: tuple[str, ...]
    rate: int
    set: Set

    async def measure(
        self, stage: Stage, servers: Servers, seconds: float, messages: int, profile: Path | None = None
    ) -> Measure:
        """Run it once for so long, or until it has served them all. Raises Failed where it did not serve."""
        async with self.set(stage, messages) as scene:
            job = Job(
                seconds=seconds,
                messages=messages and messages + scene.workload.skipped,
                skipped=scene.workload.skipped,
                rabbitmq_url=servers.rabbitmq_url,
                database_url=servers.database_url,
                requests=scene.requested[0] if scene.requested else "",
                service=scene.service,
                results=scene.results[0] if scene.results else "",
                profile=str(profile) if profile else None,
            )
            try:
                return await _run(self.command, stage, scene, job)
            except Failed as error:
                raise Failed(f"{self.name}: {error}") from error


async def _run(command: tuple[str, ...], stage: Stage, scene: Scene, job: Job) -> Measure:
    """The program starts while its messages are published, and is told of them when all are there."""
    async with processes.started(*command) as process:
        if scene.callers:
            measure = await _called(process, scene, job)
        else:
            await stage.load(scene)
            measure = await told(process, job)
    await stage.check(scene, job.skipped + measure.messages)
    return measure


async def _called(process: asyncio.subprocess.Process, scene: Scene, job: Job) -> Measure:
    async with callers.calling(job.rabbitmq_url, scene) as waits:
        measure = await told(process, job)
        await callers.reach(waits, job.skipped + measure.messages)
    p50, p99 = callers.percentiles(waits[job.skipped :])  # the first ones waited for the start
    return replace(measure, p50_ms=p50, p99_ms=p99)


async def told(process: asyncio.subprocess.Process, job: Job) -> Measure:
    """What the program measured. Raises Failed."""
    try:
        async with asyncio.timeout(PATIENCE + job.seconds):
            return await processes.told(process, job)
    except TimeoutError:
        raise Failed("not done in time") from None
