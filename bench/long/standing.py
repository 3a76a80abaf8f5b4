"""What the service costs while it has nothing to do, and how much memory it holds while much is queued."""

import asyncio
from dataclasses import dataclass

import psutil

from bench import callers, requests
from bench.long.serving import answers, cpu_seconds, megabytes, serving
from bench.program import Servers
from bench.stage import Stage

SETTLE_SECONDS = 3  # after the start, before it counts as idle
EVERY = 0.25  # seconds
AIM_CPU, AIM_MEMORY, AIM_GROWTH = 0.01, 120, 1.1


@dataclass(frozen=True)
class Idle:
    """``cpu`` is a share of one core, ``memory`` is in megabytes."""

    cpu: float
    memory: float


@dataclass(frozen=True)
class Busy:
    """Megabytes while so many requests are queued: early, and the most that were held afterwards."""

    queued: int
    early: float
    most: float


async def idle(stage: Stage, servers: Servers, seconds: float) -> Idle:
    """Look at a service that is asked nothing, for so long."""
    async with stage.reads(requests.gets(), callers=0) as scene, serving(scene, servers) as process:
        async with callers.connected(servers.rabbitmq_url, scene.exchange) as caller:
            await answers(caller)
        await asyncio.sleep(SETTLE_SECONDS)
        before = cpu_seconds(process)
        await asyncio.sleep(seconds)
        return Idle((cpu_seconds(process) - before) / seconds, megabytes(process))


async def busy(stage: Stage, servers: Servers, seconds: float, queued: int) -> Busy:
    """Look at a service that has this much to do, for so long; it does not get done."""
    async with stage.service(requests.creates(queued)) as scene:
        await stage.load(scene)
        async with serving(scene, servers) as process:
            async with callers.connected(servers.rabbitmq_url, scene.exchange) as caller:
                await answers(caller)
            await asyncio.sleep(SETTLE_SECONDS)
            early = megabytes(process)
            return Busy(queued, early, max([early, *await _held(process, seconds)]))


async def _held(process: psutil.Process, seconds: float) -> list[float]:
    held = []
    for _ in range(max(1, int(seconds / EVERY))):
        await asyncio.sleep(EVERY)
        held.append(megabytes(process))
    return held
