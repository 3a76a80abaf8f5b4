"""Several partitions, each served by a process of its own, on servers of our own: the broker needs a plugin."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

import psutil

from bench import environment, processes, requests, stage
from bench.long.serving import cpu_seconds
from bench.program import told
from bench.programs import SERVICE
from bench.scene import Scene
from bench.stage import Stage
from bench.stopwatch import Job, Measure
from dev import nodes
from dev.postgres import PostgresServer
from dev.rabbitmq import RabbitServer

PLUGIN = "rabbitmq_consistent_hash_exchange"
COUNTS = (1, 2, 4)
AMPLE = 2.5  # the process that starts first has the machine to itself for a while
RATE = 6000  # messages a second that are expected of one process before anybody knows better


@dataclass(frozen=True)
class Served:
    """CPU is in microseconds a message: of the service's processes, of the broker, of the database."""

    partitions: int
    per_second: float
    service_us: float
    broker_us: float
    database_us: float

    @property
    def cores(self) -> float:
        """That were busy."""
        return self.per_second * (self.service_us + self.broker_us + self.database_us) / 1e6


@dataclass(frozen=True)
class Servers:
    """Servers of our own, so that what they use is known."""

    broker: RabbitServer
    postgres: PostgresServer

    def used(self) -> tuple[float, float]:
        """CPU seconds of each so far."""
        return _tree(self.broker), _tree(self.postgres)


@contextmanager
def started() -> Iterator[Servers]:
    """Both, gone at the end. Raises nodes.StartError."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RabbitServer(f"{folder}/rabbitmq", plugins=[PLUGIN]) as broker,
        PostgresServer(f"{folder}/postgres") as postgres,
    ):
        environment.migrate(postgres.url)
        yield Servers(broker, postgres)


async def measure(servers: Servers, seconds: float) -> list[Served]:
    """Raises Failed."""
    found: list[Served] = []
    async with stage.opened(servers.broker.url, servers.postgres.url) as opened:
        for count in COUNTS:
            rate = max((each.per_second for each in found), default=RATE)
            found.append(await _serve(opened, servers, count, seconds, int(AMPLE * rate * seconds)))
    return found


async def _serve(opened: Stage, servers: Servers, count: int, seconds: float, messages: int) -> Served:
    async with opened.service(requests.creates(messages), partitions=count) as scene:
        await opened.load(scene)
        before = servers.used()
        measures = await _side_by_side(scene, servers, seconds, await opened.depths(scene))
        broker_cpu, database_cpu = (now - then for now, then in zip(servers.used(), before, strict=True))
        served = sum(scene.workload.skipped + each.messages for each in measures)
        await opened.check(scene, served)
    return Served(
        partitions=count,
        per_second=sum(each.per_second for each in measures),
        service_us=sum(each.cpu_seconds for each in measures) / sum(each.messages for each in measures) * 1e6,
        broker_us=broker_cpu / served * 1e6,
        database_us=database_cpu / served * 1e6,
    )


async def _side_by_side(scene: Scene, servers: Servers, seconds: float, depths: Sequence[int]) -> list[Measure]:
    """A process for each partition, of such a depth, all told to begin at once."""
    async with AsyncExitStack() as running:
        begun = [await running.enter_async_context(processes.started(*SERVICE)) for _ in scene.requested]
        jobs = [
            Job(
                seconds=seconds,
                rabbitmq_url=servers.broker.url,
                database_url=servers.postgres.url,
                skipped=scene.workload.skipped,
                service=scene.service,
                messages=depth,
                partition=number,
                partitions=scene.partitions,
            )
            for number, depth in enumerate(depths)
        ]
        return await asyncio.gather(*(told(*each) for each in zip(begun, jobs, strict=True)))


def _tree(node: nodes.Node) -> float:
    server = psutil.Process(node.pid)
    return sum(map(cpu_seconds, (server, *server.children(recursive=True))))
