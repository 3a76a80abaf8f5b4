"""Direct replies to addresses that were made up: the broker closes the connection that publishes one."""

import asyncio
import time
import uuid
from typing import Any, cast

import pytest

import config
from src.amqp.frames import Properties
from src.amqp.outgoing import Message
from src.amqp.publisher import ONCE
from tests import harness, requester
from tests.requester import Collected, Requester
from tests.requester import Message as Answer

FORGED = "amq.rabbitmq.reply-to.AAAA.BBBB"
MANY = 200
A_FEW_SECONDS = 8
MOST_LOSSES = 4  # with the batch as it was, and with three of those that are tried alone


async def slowest(db: Requester, operation: str) -> float:
    """Seconds that the last of the good ones has waited, each beside a forged one."""
    waiting: list[asyncio.Task[float]] = []
    for number in range(MANY):
        await db.publish(operation, {}, f"forged {number}", reply_to=FORGED)
        waiting.append(asyncio.create_task(seconds(await db.publish(operation, {}, f"good {number}"))))
    return max(await asyncio.gather(*waiting))


async def seconds(answer: asyncio.Future[Answer]) -> float:
    begun = time.monotonic()
    assert (await requester.finished([answer]))[0].problem is None
    return time.monotonic() - begun


@pytest.mark.parametrize("operation", ["session.create", "session.count"])
async def test_two_hundred_forged_direct_replies_delay_nobody_by_more_than_a_few_seconds(
    settings: config.Settings, operation: str
) -> None:
    async with harness.running(settings), requester.asking(settings) as db:
        assert await slowest(db, operation) < A_FEW_SECONDS


async def test_a_batch_of_forged_direct_replies_ends_its_connection_a_few_times_only(settings: config.Settings) -> None:
    losses: list[object] = []
    async with harness.running(settings) as service, requester.opened(settings) as raw:
        address, replies = await requester.collecting(raw)
        healing = cast("Any", service.replying)._connection
        healing.reconnect_callbacks.add(lambda *_: losses.append(None))
        targets = [FORGED, address] * MANY
        taken = await service.replier.publish([reply(target) for target in targets], ONCE)
        await replies.take(MANY)
    assert taken == [False, True] * MANY
    assert 1 < len(losses) <= MOST_LOSSES


def reply(target: str) -> Message:
    return Message("", target, b"", Properties(message_id=str(uuid.uuid4())), mandatory=target != FORGED)


async def test_events_and_dead_letters_never_wait_for_forged_direct_replies(settings: config.Settings) -> None:
    names = harness.names(settings)
    async with (
        harness.running(settings) as service,
        requester.asking(settings) as db,
        requester.listening(settings, names.events) as events,
    ):
        before = await service.outbound.ready()
        await forge(db, events)
        assert await service.outbound.ready() is before


async def forge(db: Requester, events: Collected) -> None:
    for number in range(MANY):
        await db.publish("session.create", {}, f"forged {number}", reply_to=FORGED)
    await events.take(MANY)
