"""What the service has declared is deleted while it runs, and comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from unittest import mock

import pytest
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError

import config
from dev.rabbitmq import RabbitServer
from src import wire
from src.amqp import topology_recovery
from src.amqp.frames import Message, Properties
from src.amqp.publisher import RetryPolicy
from src.service import Service
from tests.support import harness, requester
from tests.support.requester import Collected, Requester

PARTITIONS = 2


@pytest.fixture(scope="module")
async def shared(postgres_url: str, template: str, private_rabbitmq: RabbitServer) -> AsyncIterator[Service]:
    """A service of two partitions that looks often for what is missing."""
    async with harness.isolated(postgres_url, template, private_rabbitmq.url) as settings:
        chosen = settings.model_copy(update={"write_partitions": PARTITIONS})
        with mock.patch.object(topology_recovery, "CHECK_INTERVAL", 0.2):
            async with harness.running(chosen) as started:
                yield started
        await harness.delete_topology(chosen)


NAMES = wire.Names("")
EXCHANGES = [name.removeprefix(".") for name in NAMES.exchanges]
QUEUES = [name.removeprefix(".") for name in NAMES.queues(PARTITIONS)]


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_an_exchange_that_is_deleted_comes_back_with_its_bindings(service: Service, exchange: str) -> None:
    settings = service.settings
    async with requester.opened(settings) as raw:
        await raw.exchange_delete(f"{settings.service_name}.{exchange}")
    await harness.eventually(lambda: holds(everything_works, settings), "everything works again")


@pytest.mark.parametrize("queue", QUEUES)
async def test_a_queue_that_is_deleted_comes_back_with_its_bindings(service: Service, queue: str) -> None:
    settings = service.settings
    async with requester.opened(settings) as raw:
        await raw.queue_delete(f"{settings.service_name}.{queue}")
    await harness.eventually(lambda: holds(everything_works, settings), "everything works again")


async def holds(check: Callable[[config.Settings], Awaitable[None]], settings: config.Settings) -> bool:
    with contextlib.suppress(AMQPError, TimeoutError, AssertionError):
        await check(settings)
        return True
    return False


async def everything_works(settings: config.Settings) -> None:
    """Writes to each partition, reads, what is unknown, dead letters and parked events get where they belong."""
    names = harness.names(settings)
    async with asyncio.timeout(2), requester.asking(settings) as db, requester.opened(settings) as raw:
        await raw.basic_publish(b"", exchange=names.released, routing_key="told", mandatory=True)  # nobody hears it
        async with (
            requester.listening(settings, names.events) as events,
            requester.listening(settings, names.dead) as letters,
        ):
            await assert_served(db, events)
            await assert_dead(db, letters, raw, names.dead)
            await raw.basic_publish(b"", exchange=names.parked, routing_key="told", mandatory=True)
            await raw.basic_publish(b"again", exchange=names.released, routing_key="told", mandatory=True)
            await events.until(b"again")


async def assert_served(db: Requester, events: Collected) -> None:
    for key in map(str, range(8)):  # at least one for each partition
        answer = await db.ask("session.create", {}, headers={"partition-key": key})
        await events.until(answer.body)
    assert (await db.ask("session.count")).problem is None
    assert (await db.ask("nothing.known")).problem == "unknown-operation"


async def assert_dead(db: Requester, letters: Collected, raw: Channel, queue: str) -> None:
    """A dead letter is heard, and kept."""
    before = (await raw.queue_declare(queue, passive=True)).message_count or 0
    await db.publish("nothing.known", {}, reply_to=None)
    await letters.one()
    while ((await raw.queue_declare(queue, passive=True)).message_count or 0) <= before:
        pass


async def test_what_is_published_to_an_exchange_that_is_missing_is_there_once_it_is_back(
    service: Service,
) -> None:
    settings, names = service.settings, harness.names(service.settings)
    async with requester.opened(settings) as raw:
        await raw.exchange_delete(names.dead)
        letters = [Message(names.dead, str(n), b"", Properties(message_id=str(n)), mandatory=True) for n in range(300)]
        before = (await raw.queue_declare(names.dead, passive=True)).message_count or 0
        async with asyncio.timeout(harness.DEADLINE):
            assert await service.publisher.publish(letters, RetryPolicy.UNTIL_CONFIRMED) == [True] * 300
        assert (await raw.queue_declare(names.dead, passive=True)).message_count == before + 300


async def test_while_it_runs_it_takes_no_binding_away(service: Service) -> None:
    """Two versions with different WRITE_PARTITIONS would rebind each other's queues."""
    settings, names = service.settings, harness.names(service.settings)
    other: Any = (names.partition(0), names.requests, "session.create")  # that of a version with one partition
    async with requester.opened(settings) as raw, requester.asking(settings) as db:
        await raw.queue_bind(*other)
        await raw.exchange_delete(names.events)
        await harness.eventually(lambda: holds(everything_works, settings), "everything works again")
        (answer,) = await requester.finished([await db.publish("session.create", {})])
        await db.answers.reach(lambda: len(db.answers.of(answer.correlation_id or "")) == 2)  # it came both ways
        await raw.queue_unbind(*other)
