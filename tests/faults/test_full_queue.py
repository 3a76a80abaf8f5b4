"""A subscriber's queue is full: its events wait for it alone, and nobody else does."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest

import config
from tests.support import harness, requester
from tests.support.full import drained, full_queue
from tests.support.harness import Process
from tests.support.requester import Collected, Requester

MANY, BACKLOG = 50, 10_000


@contextlib.asynccontextmanager
async def served(settings: config.Settings) -> AsyncIterator[tuple[Requester, Collected]]:
    """A requester of the service, which runs, and a healthy subscriber to all events."""
    async with (
        harness.running(settings),
        requester.asking(settings) as db,
        requester.listening(settings, harness.names(settings).events) as healthy,
    ):
        yield db, healthy


@contextlib.asynccontextmanager
async def full(settings: config.Settings) -> AsyncIterator[aio_pika.abc.AbstractQueue]:
    """A full queue of a service that does not run yet."""
    async with harness.running(settings):
        pass  # declares
    async with full_queue(settings) as queue:
        yield queue


async def write(db: Requester, count: int = MANY) -> None:
    """So many new sessions, each answered."""
    answers = [await db.publish("session.create", {}, f"{index} of {count}") for index in range(count)]
    assert [answer.problem for answer in await requester.finished(answers)] == [None] * count


async def test_what_a_full_queue_refuses_reaches_it_once_there_is_room_and_nobody_else_hears_it_thrice(
    shaky: config.Settings,
) -> None:
    async with served(shaky) as (db, healthy), full_queue(shaky) as queue:
        await write(db)
        await healthy.take(MANY + 1)  # so the broker has published one again, and was refused as well
        arrived = await drained(queue, 1 + MANY)
        last = await db.ask("session.create", {}, "the last")
        await healthy.until(last.body)
    told = [event for event in healthy.all if event.body != last.body]
    assert set(arrived) == {b"full", *(event.body for event in told)}
    assert len(set(arrived)) == 1 + MANY
    assert Counter(Counter(event.id for event in told).values()).keys() <= {1, 2}


async def test_a_full_queue_costs_no_request_its_ack_or_its_answer(shaky: config.Settings) -> None:
    names = harness.names(shaky)
    async with full(shaky):
        async with served(shaky) as (db, _):
            await write(db)
        assert await harness.given_back(shaky, names.partition(0)) == 0
        assert await harness.depth(shaky, names.dead) == 0


async def test_events_whose_subscriber_is_gone_hold_up_no_other_subscribers(shaky: config.Settings) -> None:
    async with harness.running(shaky), requester.asking(shaky) as db:
        async with full_queue(shaky, "session.*"):
            await write(db)
        async with full_queue(shaky, "user.*") as queue:
            await db.ask("user.create", {"username": "ada"})
            assert b'"ada"' in (await drained(queue, 2))[1]


async def test_a_request_waits_where_what_is_refused_of_it_cannot_be_parked(shaky: config.Settings) -> None:
    names, impatient = harness.names(shaky), shaky.model_copy(update={"graceful_timeout": 0.05})
    async with full(shaky) as queue, requester.opened(shaky) as raw:
        async with served(impatient) as (db, _):
            await raw.queue_unbind(names.parked, names.parked)
            await write(db, 1)
        assert await harness.given_back(shaky, names.partition(0)) == 1
        async with harness.running(shaky):
            assert len(await drained(queue, 2)) == 2
        assert await harness.given_back(shaky, names.partition(0)) == 0


@pytest.mark.slow
async def test_writers_keep_half_of_their_throughput_beside_a_full_queue(shaky: config.Settings) -> None:
    async with harness.running(shaky):
        pass  # declares
    alone, beside = list[float](), list[float]()
    for number in range(3):
        alone.append(await seconds(shaky, f"alone {number}"))
        async with full_queue(shaky):
            beside.append(await seconds(shaky, f"beside {number}"))
    assert min(beside) < 2 * min(alone), f"seconds for {BACKLOG}: {alone}, beside a full queue {beside}"


async def seconds(settings: config.Settings, name: str) -> float:
    """How long the service, in a process of its own, takes to apply a backlog."""
    requests: list[Any] = [("session.create", {}, f"{name} {index}") for index in range(BACKLOG)]
    async with requester.asking(settings) as db:
        await asyncio.gather(*(db.publish(*request, reply_to=None) for request in requests))
    before = await applied(settings)
    async with Process(settings) as process:
        await process.consuming()
        begun = time.monotonic()
        await harness.eventually(lambda: has_applied(settings, before + BACKLOG), "all are applied")
        return time.monotonic() - begun


async def has_applied(settings: config.Settings, count: int) -> bool:
    return await applied(settings) == count


async def applied(settings: config.Settings) -> int:
    return int((await harness.fetch(settings.dsn, "SELECT count(*) FROM inbox"))[0][0])
