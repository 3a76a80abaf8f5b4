"""Nothing is acked before what comes of it is out, and what nobody takes stops nobody."""

import contextlib

import pytest

import config
from tests.guarantees.held import hold
from tests.guarantees.traces import sessions
from tests.guarantees.writes import MISSING, NOTE, REJECTED, SESSION, WRITES
from tests.support import harness, requester
from tests.support.full import full_queue
from tests.support.requester import Collected, Requester


@pytest.mark.parametrize("kind", ["answers", "events", "dead letters"])
async def test_a_request_is_not_acked_before_what_comes_of_it_is_confirmed(
    kind: str, settings: config.Settings
) -> None:
    names, impatient = harness.names(settings), settings.model_copy(update={"graceful_timeout": 0.05})
    async with harness.running(settings), requester.asking(settings) as db:
        await db.ask("session.create", {"id": SESSION})
    async with (
        requester.asking(settings) as db,
        requester.listening(settings, names.events) as events,
        requester.listening(settings, names.dead) as dead_letters,
    ):
        exchange, out = {
            "answers": ("", db.answers),
            "events": (names.events, events),
            "dead letters": (names.dead, dead_letters),
        }[kind]
        request = REJECTED if kind == "dead letters" else WRITES["command"]
        with contextlib.ExitStack() as holding:
            async with harness.running(impatient) as first:
                held = holding.enter_context(hold(first, exchange))
                await db.publish(*request, "m", reply_to=db.reply_to if kind == "answers" else None)
                await held.reached.wait()
        assert await harness.given_back(settings, names.partition(0)) == 1
        async with harness.running(settings):
            once, again = await out.take(2)
        assert await harness.given_back(settings, names.partition(0)) == 0
    assert (once.id, once.body) == (again.id, again.body)
    assert held.batches == [1]


@pytest.mark.parametrize("queue", ["missing", "full"])
async def test_an_answer_that_no_queue_takes_is_dropped_but_a_problem_reaches_somebody(
    queue: str, db: Requester, dead_letters: Collected, settings: config.Settings
) -> None:
    async with full_queue(settings) as full:
        await full.unbind(harness.names(settings).events, "#")
        nowhere = full.name if queue == "full" else "nowhere"
        await db.publish("session.create", {"id": MISSING}, "served", reply_to=nowhere)
        await db.publish("session.get", {"id": NOTE}, "read", reply_to=nowhere)
        await db.publish("note.file", {"id": MISSING}, "rejected", reply_to=nowhere)
        letter = await dead_letters.one()
        await db.ask("trouble.break", {"id": SESSION}, "the end")
        assert (await dead_letters.one()).id == "the end"
    assert (letter.id, letter.headers["reason"]) == ("rejected", "unanswered")
    assert letter.headers["detail"] == "urn:db:problem:not-found"
    assert len(await sessions(settings)) == 2


async def test_a_forged_direct_reply_to_stops_nobody(settings: config.Settings) -> None:
    """The broker closes the connection that publishes a reply to it."""
    forged = "amq.rabbitmq.reply-to.AAAA.BBBB"
    async with harness.running(settings), requester.asking(settings) as db:
        for operation in ("session.create", "session.count"):
            await db.publish(operation, {}, "forged", reply_to=forged)
            assert (await db.ask(operation)).problem is None
        assert (await db.ask("session.create", {}, "forged")).problem is None
        assert (await db.ask("session.count")).document == {"count": 2}


async def test_a_forged_direct_reply_to_takes_no_other_reply_of_its_batch_along(settings: config.Settings) -> None:
    async with harness.running(settings):
        pass  # so that its queues are there
    async with requester.asking(settings) as db:
        before = [await db.publish("session.create", {}, f"before {n}") for n in range(10)]
        await db.publish("session.create", {}, "forged", reply_to="amq.rabbitmq.reply-to.AAAA.BBBB")
        after = [await db.publish("session.create", {}, f"after {n}") for n in range(10)]
        async with harness.running(settings):
            answers = await requester.finished([*before, *after])
    assert [answer.problem for answer in answers] == [None] * 20
