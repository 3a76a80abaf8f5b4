"""How long a write waits for its reply while the service has little to do."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench import callers, requests
from bench.long.serving import answers, serving
from bench.program import Servers
from bench.programs import PROGRAMS
from bench.requests import Request
from bench.rounds import AMPLE
from bench.stage import Stage

SHARE = 0.2  # of what it can serve
WARM_UP = 2.0  # seconds
PERSISTENT = 2
AIM = 5


@dataclass(frozen=True)
class Latency:
    """Of writes that come at even intervals, from the moment that each was due."""

    share: float
    per_second: float
    writes: int
    p50_ms: float
    p99_ms: float

    @property
    def spread(self) -> float:
        return self.p99_ms / self.p50_ms


async def measure(stage: Stage, servers: Servers, seconds: float) -> Latency:
    """First what it can serve, then a fifth of that for so long. Raises Failed."""
    (full,) = (program for program in PROGRAMS if program.name == "service_reply")
    most = await full.measure(stage, servers, seconds, int(AMPLE * full.rate * seconds))
    rate = SHARE * most.per_second
    workload = requests.creates(int((WARM_UP + 10 * seconds) * rate) + 1)
    async with stage.service(workload) as scene:
        async with serving(scene, servers), callers.connected(servers.rabbitmq_url, scene.exchange) as caller:
            await answers(caller)
            waits = await _evenly(caller, workload.requests(), rate)
        await stage.check(scene, len(waits))
    counted = waits[int(WARM_UP * rate) :]
    return Latency(SHARE, rate, len(counted), *callers.percentiles(counted))


async def _evenly(caller: callers.Caller, writes: Iterator[Request], rate: float) -> list[float]:
    """Call at this rate, whether or not there is an answer yet; the seconds from when each call was due."""
    begun = time.perf_counter()

    async def call(number: int, write: Request) -> float:
        due = begun + number / rate
        await asyncio.sleep(due - time.perf_counter())
        await caller.call(write, PERSISTENT)
        return time.perf_counter() - due

    async with asyncio.TaskGroup() as calls:
        started = [calls.create_task(call(*each)) for each in enumerate(writes)]
    return [each.result() for each in started]
