"""Direct replies to addresses that were made up: the broker closes the connection that publishes one."""

import uuid

import pytest

import config
from src.amqp.frames import Message, Properties
from src.amqp.publisher import RetryPolicy
from src.service import Service
from tests.guarantees.held import hold
from tests.support import harness, requester
from tests.support.requester import Collected, Requester

FORGED = "amq.rabbitmq.reply-to.AAAA.BBBB"
MANY = 200
MOST_LOSSES = 4  # a batch: as it was, and with three of those that are tried alone


def losses(service: Service) -> list[object]:
    """One for each time that the connection of the replies was lost, from now on."""
    lost: list[object] = []
    assert service.replying.connection
    service.replying.connection.reconnect_callbacks.add(lambda *_: lost.append(None))
    return lost


@pytest.mark.parametrize(("operation", "queue"), [("session.create", 0), ("session.count", 1)])
async def test_two_hundred_forged_direct_replies_end_their_connection_a_few_times_and_all_others_are_answered(
    settings: config.Settings, operation: str, queue: int
) -> None:
    async with harness.running(settings) as service, requester.asking(settings) as db:
        lost, subscriber = losses(service), service.broker.batch_subscribers[queue]

        async def arrived() -> bool:
            return subscriber.waiting >= settings.batch_size - 1

        with hold(service, "") as held:
            answers = [await db.publish(operation, {}, "the one before")]
            await held.reached.wait()
            for number in range(MANY):
                await db.publish(operation, {}, f"forged {number}", reply_to=FORGED)
                answers.append(await db.publish(operation, {}, f"good {number}"))
            await harness.eventually(arrived, "as many have arrived as a batch holds")
            held.released.set()
            finished = await requester.finished(answers)
        assert [answer.problem for answer in finished] == [None] * (1 + MANY)
        assert 1 < len(lost) <= MOST_LOSSES * len(held.batches) < MANY


async def test_a_batch_of_forged_direct_replies_ends_its_connection_a_few_times_only(settings: config.Settings) -> None:
    async with harness.running(settings) as service, requester.opened(settings) as raw:
        address, replies = await requester.collecting(raw)
        lost = losses(service)
        targets = [FORGED, address] * MANY
        taken = await service.replier.publish(
            [reply(target) for target in targets], RetryPolicy.UNTIL_REFUSED_OR_LOST_THRICE
        )
        await replies.take(MANY)
    assert taken == [False, True] * MANY
    assert 1 < len(lost) <= MOST_LOSSES


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
