"""What those who watch the service see of a failure: it lives, it is not ready, and how long that has lasted."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from unittest import mock

import pytest

import config
from dev import ports, processes
from dev.nodes import Node
from dev.postgres import PostgresServer
from dev.rabbitmq import RabbitServer
from src.amqp import publisher
from src.service import Service
from src.startup import serving_http
from src.telemetry import metrics
from tests.faults import ending
from tests.faults.test_broker import memory_alarm
from tests.support import harness, requester, scraped
from tests.support.full import full_queue
from tests.support.harness import Process
from tests.support.scraped import value

LIVE, READY, METRICS = "/health/live", "/health/ready", "/metrics"


@contextlib.asynccontextmanager
async def watched(settings: config.Settings) -> AsyncIterator[tuple[Service, int]]:
    """The service in this process, and the port of its HTTP."""
    (port,) = ports.free(1)
    async with harness.running(settings.model_copy(update={"http_port": port})) as service, serving_http(service):
        yield service, port


async def wrong(port: int) -> set[str]:
    """What is not ready, while it lives and is scraped all the same."""
    assert (await scraped.ask(port, LIVE)).status == 200
    assert (await scraped.ask(port, METRICS)).status == 200
    return (await scraped.ask(port, READY)).wrong


@pytest.fixture(autouse=True)
def nothing_noticed() -> None:
    """What a service of an earlier test has left behind counts in this process for ever."""
    metrics.BROKER.end_all()
    metrics.DATABASE.end_all()


async def becomes(port: int, *parts: str) -> None:
    """Wait until exactly these parts are not ready."""
    await harness.eventually(lambda: _is(port, set(parts)), f"wrong are {parts}")


async def _is(port: int, parts: set[str]) -> bool:
    return await wrong(port) == parts


async def outage(port: int, of: str) -> float:
    """The seconds that are counted, up to now."""
    await scraped.ask(port, METRICS)
    return value("db_outage_seconds_total", of=of)


async def is_over(port: int, of: str) -> None:
    """Wait until no more seconds are counted; each connection comes back when it does."""
    await harness.eventually(lambda: _stands_still(port, of), "the outage is over")


async def _stands_still(port: int, of: str) -> bool:
    return await outage(port, of) == await outage(port, of)


async def _exceeds(port: int, seconds: float) -> bool:
    return await outage(port, "broker") > seconds


async def test_an_outage_of_the_database_is_seen_while_it_lasts_and_after(
    fragile: config.Settings, postgres: PostgresServer
) -> None:
    async with watched(fragile) as (_, port), harness.connected(fragile) as client:
        await becomes(port)
        before = await outage(port, "database")
        await asyncio.to_thread(postgres.stop)
        calling = asyncio.create_task(client.call("session.create", {}))
        reading = asyncio.create_task(client.call("session.count"))
        await becomes(port, "database", "schema")
        during = await outage(port, "database")
        assert during > before
        assert await outage(port, "database") > during
        await asyncio.to_thread(postgres.start)
        await asyncio.gather(calling, reading)
        await becomes(port)
        await is_over(port, "database")
        assert await outage(port, "database") > during
        assert value("db_stage_seconds_count", subscriber="writes", stage="waited") > 0


async def test_a_frozen_database_delays_neither_probe_nor_scrape(
    fragile: config.Settings, postgres: PostgresServer
) -> None:
    async with watched(fragile) as (_, port):
        await becomes(port)
        with frozen(postgres):
            await becomes(port, "database", "schema")
            async with asyncio.timeout(5):
                for _ in range(20):
                    await wrong(port)
        await becomes(port)


@contextlib.contextmanager
def frozen(server: Node) -> Iterator[None]:
    """It accepts connections, and says nothing, on those either that were open before."""
    process = processes.find(server.pid or 0)
    members = processes.family(process) if process else []
    for each in members:
        processes.send(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in members:
            processes.send(each, signal.SIGCONT)


async def test_told_to_stop_while_a_frozen_database_is_asked_it_ends(
    fragile: config.Settings, postgres: PostgresServer
) -> None:
    (port,) = ports.free(1)
    async with Process(fragile, HTTP_PORT=str(port)) as process, harness.connected(fragile) as client:
        await process.consuming()
        await client.call("session.count")  # over a connection that is kept
        with frozen(postgres):
            assert await wrong(port) == {"database", "schema"}
            await ending.stopped(process)


@contextlib.asynccontextmanager
async def stopped(server: RabbitServer) -> AsyncIterator[None]:
    await asyncio.to_thread(server.ctl, "stop_app")
    try:
        yield
    finally:
        await asyncio.to_thread(server.ctl, "start_app")


async def test_an_outage_of_the_broker_is_seen_while_it_lasts_and_after(
    shaky: config.Settings, private_rabbitmq: RabbitServer
) -> None:
    names = harness.names(shaky)
    queues = names.partition(0), names.reads, names.expired, names.unrouted
    async with watched(shaky) as (_, port):
        await becomes(port)
        before = await outage(port, "broker")
        async with stopped(private_rabbitmq):
            await becomes(port, "broker", *queues)
            during = await outage(port, "broker")
            assert before < during < await outage(port, "broker")
        await becomes(port)
        await is_over(port, "broker")
        assert await outage(port, "broker") > during


async def test_an_alarm_of_the_broker_is_an_outage(shaky: config.Settings, private_rabbitmq: RabbitServer) -> None:
    async with harness.running(shaky):
        pass  # declares
    async with contextlib.AsyncExitStack() as stack, requester.asking(shaky) as db:
        stack.enter_context(mock.patch.multiple(publisher, CONFIRM_TIMEOUT=0.2, PROBE_TIMEOUT=0.2))
        answer = await db.publish("session.create", {})
        async with memory_alarm(private_rabbitmq):
            _, port = await stack.enter_async_context(watched(shaky))
            await becomes(port, "broker")  # once it has published
            before = await outage(port, "broker")
            await harness.eventually(lambda: _exceeds(port, before), "the outage is counted")
        await answer
        await becomes(port)
        await is_over(port, "broker")


async def test_events_that_a_full_queue_refuses_are_counted(settings: config.Settings) -> None:
    before = value("db_parked_events_total")
    async with harness.running(settings), requester.asking(settings) as db, full_queue(settings, "session.*"):
        answers = [await db.publish("session.create", {}) for _ in range(5)]
        await requester.finished(answers)
        await harness.eventually(lambda: asyncio.sleep(0, value("db_parked_events_total") - before == 5), "all parked")
