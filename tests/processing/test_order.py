"""Requests are applied in the order they were published, whoever applies them and however often that one changes."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

import config
from dev import rabbitmq
from src.service import Service
from tests.support import harness, requester
from tests.support.requester import Collected, Requester

SESSION = str(uuid.UUID(int=1))
COUNT = 1000
EACH = 20  # changes for each partition key
IN_ORDER = [(number + 2, str(number)) for number in range(COUNT)]


class Log:
    """The versions and titles of each session, as its events first told them."""

    def __init__(self, events: Collected) -> None:
        self._events = events
        self._seen: set[str | None] = set()
        self.titles: dict[str, list[tuple[int, str]]] = {}

    async def upto(self, count: int) -> None:
        """Return when so many events have come, those not counted that come again."""
        while len(self._seen) < count:
            event = await self._events.one()
            if event.id not in self._seen:
                self._seen.add(event.id)
                title = event.headers["entity-version"], event.document["title"]
                self.titles.setdefault(event.document["id"], []).append(title)


@pytest.fixture
def settings(settings: config.Settings) -> config.Settings:
    """Of a service that takes little at a time: a few requests are many batches, and most of them wait."""
    return settings.model_copy(update={"prefetch": 40, "batch_size": 20})


@pytest.fixture
async def db(settings: config.Settings) -> AsyncIterator[Requester]:
    """A requester of a service that does not run yet, in whose database there is a session."""
    async with requester.asking(settings) as asking:
        async with harness.running(settings):
            await asking.ask("session.create", {"id": SESSION})
        yield asking


@pytest.fixture
async def log(db: Requester, settings: config.Settings) -> AsyncIterator[Log]:
    async with requester.listening(settings, harness.names(settings).events) as events:
        yield Log(events)


async def rename(db: Requester, numbers: Iterable[int] = range(COUNT)) -> None:
    """Change the session's title to each number, none waiting for the one before."""
    changes = (("session.update", {"id": SESSION, "title": str(number)}, f"m-{number}") for number in numbers)
    await asyncio.gather(*(db.publish(*change, reply_to=None) for change in changes))


async def waiting(settings: config.Settings) -> list[int]:
    """How many requests are ready in each partition."""
    queues = map(harness.names(settings).partition, range(settings.write_partitions))
    return [await harness.depth(settings, queue) for queue in queues]


async def test_what_is_in_flight_is_applied_in_order(db: Requester, log: Log, settings: config.Settings) -> None:
    async with harness.running(settings):
        await rename(db)
        await log.upto(COUNT)
        final = (await db.ask("session.get", {"id": SESSION})).document
    assert log.titles == {SESSION: IN_ORDER}
    assert (final["version"], final["title"]) == IN_ORDER[-1]


async def test_order_survives_a_stop_and_a_start(db: Requester, log: Log, settings: config.Settings) -> None:
    await rename(db)
    for stop_after in (COUNT // 3, COUNT * 2 // 3):
        async with harness.running(settings):
            await log.upto(stop_after)
        assert await harness.given_back(settings, harness.names(settings).partition(0)) > 0
    async with harness.running(settings):
        await log.upto(COUNT)
    assert log.titles == {SESSION: IN_ORDER}


async def test_order_survives_a_hand_over_to_a_standby(db: Requester, log: Log, settings: config.Settings) -> None:
    async with AsyncExitStack() as active:
        await active.enter_async_context(harness.running(settings))
        async with harness.running(settings), asyncio.TaskGroup() as publishing:
            publishing.create_task(rename(db))
            await log.upto(COUNT // 3)
            await active.aclose()
            assert await waiting(settings) > [0]
            await log.upto(COUNT)
    assert log.titles == {SESSION: IN_ORDER}


@pytest.mark.processes
async def test_order_survives_the_death_of_the_active_one(db: Requester, log: Log, settings: config.Settings) -> None:
    async with harness.Process(settings) as active:
        await active.consuming()
        async with harness.Process(settings) as standby, asyncio.TaskGroup() as publishing:
            await standby.consuming()
            publishing.create_task(rename(db))
            await log.upto(COUNT // 3)
            active.kill()
            assert await waiting(settings) > [0]
            await log.upto(COUNT)
    assert log.titles == {SESSION: IN_ORDER}


@pytest.fixture
def partitioned(settings: config.Settings, private_rabbitmq: rabbitmq.RabbitServer) -> config.Settings:
    return settings.model_copy(update={"rabbitmq_url": SecretStr(private_rabbitmq.url), "write_partitions": 4})


async def test_each_partition_key_is_in_order_and_keys_are_spread(partitioned: config.Settings) -> None:
    keys = {str(uuid.UUID(int=number)): {"partition-key": f"key {number}"} for number in range(40)}
    keys[SESSION] = {}  # none counts as one, too
    changes = [
        ("session.update", {"id": session, "title": str(number)}, f"{session} {number}", headers)
        for number in range(EACH)
        for session, headers in keys.items()
    ]
    async with requester.asking(partitioned) as db:
        async with harness.running(partitioned):
            for session in keys:
                await db.ask("session.create", {"id": session})
        async with requester.listening(partitioned, harness.names(partitioned).events) as events:
            await asyncio.gather(*(db.publish(*change, reply_to=None) for change in changes))
            queued = await waiting(partitioned)
            async with harness.running(partitioned):
                log = Log(events)
                await log.upto(len(changes))
    assert log.titles == dict.fromkeys(keys, IN_ORDER[:EACH])
    assert sum(queued) == len(changes)
    assert all(count % EACH == 0 for count in queued)
    assert min(queued) > 0


@pytest.mark.parametrize("key", [7, 7.0, True, None, ["7"]], ids=repr)
async def test_a_partition_key_that_is_no_string_is_refused(
    key: object, service: Service, settings: config.Settings
) -> None:
    async with requester.asking(settings) as db:
        assert (await db.ask("session.create", {}, "m", {"partition-key": key})).problem == "invalid"
        assert (await db.ask("session.count")).document == {"count": 0}
