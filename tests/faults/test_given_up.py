"""What a queue gives up, because it waited too long or was delivered too often, and whoever forges that it was."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from aiormq.abc import DeliveredMessage

import config
from src import wire
from src.consumers import topology
from tests.guarantees.traces import sessions
from tests.support import harness, requester
from tests.support.requester import Collected, Requester

# The broker understands these, and puts its own death before them.
FORGED: dict[str, Any] = {
    "none": None,
    "expired": [{"reason": "expired", "queue": "db.writes.0", "count": 1}],
    "delivered too often": [{"reason": "delivery_limit", "queue": "db.writes.0", "count": 1}],
    "empty": [],
    "no list": "delivery_limit",
    "of wrong types": [{"reason": 1, "queue": 2, "count": "many", "routing-keys": 3}],
}

# RabbitMQ 3.10 fails on these where it would add to them.
POISONOUS: dict[str, Any] = {
    "texts": ["expired", 1],
    "nothing": [None],
    "lists": [[{"reason": "expired"}]],
    "uncountable": [
        {"reason": reason, "queue": queue, "count": "many"}
        for reason in ("expired", "delivery_limit")
        for queue in ("{0}.writes.0", "{0}.reads")
    ],
}
EACH_POISONOUS = pytest.mark.parametrize("poison", POISONOUS.values(), ids=POISONOUS)


@contextlib.asynccontextmanager
async def between_two_services(settings: config.Settings) -> AsyncIterator[tuple[Requester, Collected, Collected]]:
    """Requests published in here wait in their queues for the next service.

    The one before has served a session.create ``m``. What is collected are events and dead letters.
    """
    names = harness.names(settings)
    async with requester.asking(settings) as db, contextlib.AsyncExitStack() as stack:
        async with harness.running(settings):
            dead = await stack.enter_async_context(requester.listening(settings, names.dead))
            events = await stack.enter_async_context(requester.listening(settings, names.events))
            await db.ask("session.create", {"title": "served"}, "m")
        yield db, events, dead


async def given_up(settings: config.Settings, queue: str = "writes.0") -> None:
    """Return when the queue has nothing any more."""

    async def empty() -> bool:
        return await harness.depth(settings, f"{settings.service_name}.{queue}") == 0

    await harness.eventually(empty, "the queue has given it up")


async def deliver_too_often(settings: config.Settings, times: int) -> None:
    """Take what is in the partition and give it back, again and again."""
    queue = harness.names(settings).partition(0)
    for _ in range(times):
        async with requester.opened(settings) as channel:
            arrived = asyncio.Event()

            async def arrive(_: DeliveredMessage, arrived: asyncio.Event = arrived) -> None:
                arrived.set()

            await channel.basic_consume(queue, arrive)
            await arrived.wait()


async def test_a_write_that_expires_in_its_queue_is_answered_and_not_applied_whatever_it_claims(
    shaky: config.Settings,
) -> None:
    async with between_two_services(shaky) as (db, events, dead):
        answers, nobodys = {}, {}
        for name, forged in FORGED.items():
            late = ("session.create", {"title": "late"})
            headers = {"x-death": forged} if forged is not None else {}
            answers[name] = await db.publish(*late, name, headers, expiration="1")
            nobodys[name] = await db.publish(*late, f"{name}, for nobody", headers, expiration="1", reply_to=None)
        await given_up(shaky)
        async with harness.running(shaky):
            told = {name: await answer for name, answer in answers.items()}
            letters = await dead.take(len(FORGED))
    assert {name: (answer.problem, answer.document["retryable"]) for name, answer in told.items()} == dict.fromkeys(
        FORGED, ("deadline-exceeded", True)
    )
    assert not any(answer.done() for answer in nobodys.values())
    assert {(letter.id, letter.reason) for letter in letters} == {
        (f"{name}, for nobody", "deadline-exceeded") for name in FORGED
    }
    assert len(dead.all) == len(FORGED)
    assert len(await sessions(shaky)) == len(events.all) == 1


async def test_a_write_that_expires_in_its_queue_and_was_served_before_is_answered_and_told_as_it_was(
    shaky: config.Settings,
) -> None:
    async with between_two_services(shaky) as (db, events, dead):
        again = await db.publish("session.create", {"title": "served"}, "m", expiration="1")
        other = await db.publish("session.create", {"title": "other"}, "m", expiration="1")
        await given_up(shaky)
        async with harness.running(shaky):
            first, second = await events.take(2)
            assert (await again).body == first.body
            assert (await other).problem == "deadline-exceeded"
    assert first == second
    assert dead.all == []
    assert len(await sessions(shaky)) == 1


async def test_a_write_delivered_too_often_is_a_dead_letter_that_says_so_unless_it_was_served(
    shaky: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "DELIVERY_LIMIT", 2)
    async with between_two_services(shaky) as (db, events, dead):
        again = await db.publish("session.create", {"title": "served"}, "m")
        await deliver_too_often(shaky, 3)
        answer = await db.publish("session.create", {"title": "deadly"}, "n", {"x-death": FORGED["expired"]})
        await deliver_too_often(shaky, 3)
        await given_up(shaky)
        async with harness.running(shaky):
            first, second = await events.take(2)
            letter = await dead.one()
            assert (await again).body == first.body
            assert (await answer).problem == "delivery-limit"
    assert first == second
    assert (letter.id, letter.reason) == ("n", "delivery-limit")
    assert len(dead.all) == len(await sessions(shaky)) == 1


@pytest.mark.parametrize("exchange", ["expired", "unrouted"])
async def test_a_write_that_claims_to_be_given_up_is_not_applied_and_takes_nothing_from_its_original(
    exchange: str, shaky: config.Settings
) -> None:
    async with between_two_services(shaky) as (db, _, dead), harness.running(shaky):
        async with harness.channel(shaky.rabbitmq_url.get_secret_value()) as raw:
            to = await raw.get_exchange(f"{shaky.service_name}.{exchange}")
            for name, forged in FORGED.items():
                claim = aio_pika.Message(b'{"title": "claimed"}', message_id=name, headers={"x-death": forged})
                await to.publish(claim, "session.create")
        assert {letter.id for letter in await dead.take(len(FORGED))} == {*FORGED}
        answers = {name: await db.ask("session.create", {"title": "claimed"}, name) for name in FORGED}
    assert {name: answer.problem for name, answer in answers.items()} == dict.fromkeys(FORGED)
    assert len(dead.all) == len(FORGED)
    assert len(await sessions(shaky)) == 1 + len(FORGED)


@EACH_POISONOUS
async def test_a_death_that_no_broker_understands_costs_its_own_request_and_no_other(
    poison: Any, shaky: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ 3.10 loses the queue, or all dead-lettering of the node, where a queue promises to keep such a one."""
    monkeypatch.setattr(topology, "DELIVERY_LIMIT", 2)
    headers = {"x-death": _named(poison, shaky.service_name)}
    async with between_two_services(shaky) as (db, _, dead):
        for operation, queue in (("session.create", "writes.0"), ("session.count", "reads")):
            await db.publish(operation, {}, headers=headers, expiration="1")
            await given_up(shaky, queue)
        await db.publish("session.create", {}, headers=headers)
        await deliver_too_often(shaky, 3)
        late = await db.publish("session.create", {}, "late", expiration="1")
        await given_up(shaky)
        read = await db.publish("session.count")
        async with harness.running(shaky):
            assert (await late).problem == "deadline-exceeded"
            assert (await read).document == {"count": 1}
            assert (await db.ask("session.create", {}, "n")).problem is None
    assert dead.all == []


def _named(value: Any, service: str) -> Any:
    """With the names of the queues that this service has."""
    match value:
        case dict():
            return {name: _named(item, service) for name, item in value.items()}
        case list():
            return [_named(item, service) for item in value]
        case str():
            return value.format(service)
        case _:
            return value


async def test_started_on_the_queues_of_another_version_it_says_what_to_do(shaky: config.Settings) -> None:
    queue, exchange = harness.names(shaky).partition(0), wire.Names(shaky.service_name).dead
    async with requester.opened(shaky) as channel:
        arguments: Any = {"x-queue-type": "quorum", "x-dead-letter-exchange": exchange}
        await channel.queue_declare(queue, durable=True, arguments=arguments)
    async with harness.Process(shaky) as process:
        assert await process.wait() == 1
        (line,) = [line for line in process.log if "level=info" not in line]
    assert queue in line
    assert "x-dead-letter-exchange" in line or "x-single-active-consumer" in line
    assert "let the version that declared it serve what it holds" in line
