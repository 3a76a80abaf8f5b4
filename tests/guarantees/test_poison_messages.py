"""A request that kills the process is given up, and it alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, cast
from uuid import uuid4

import pytest

import config
from src.amqp.batch import Batch
from src.amqp.frames import Delivery, Properties
from src.clock import now
from src.consumers.outage import OutageDeadline, OutageRetry
from src.database import Database
from src.processing import attempts
from src.service import Service
from tests.faults import crash
from tests.guarantees.deadly import deaths, poisoned, suspects
from tests.guarantees.held import hold
from tests.guarantees.writes import SESSION, Request
from tests.support import harness, requester
from tests.support.requester import Collected, Message, Requester

MANY = 10
WRITES: list[Request] = [("session.update", {"id": SESSION, "title": str(number)}) for number in range(MANY)]
READS: list[Request] = [("session.get", {"id": SESSION})] * MANY
UNKNOWN: list[Request] = [("nobody.knows", {})] * MANY
WRITE: Request = ("session.create", {"title": crash.POISON})
READ: Request = ("session.list", {"where": {"title": crash.POISON}})
UNROUTED: Request = ("nobody.at_all", {"title": crash.POISON})


@dataclass
class Standing:
    """A service that is not running yet, who asks it, and what dies of it."""

    settings: config.Settings
    db: Requester
    letters: Collected

    async def ask(
        self, innocents: Sequence[Request], deadly: Request, *others: asyncio.Future[Message]
    ) -> list[Message]:
        """The answers of the innocents, in the midst of whom the deadly one is, when these and others are settled."""
        half = len(innocents) // 2
        requests = [*innocents[:half], deadly, *innocents[half:]]
        answers = [await self.db.publish(*request, f"m-{number}") for number, request in enumerate(requests)]
        del answers[half]

        async def done() -> bool:
            return all(answer.done() for answer in (*answers, *others))

        self.deaths = await deaths(self.settings, done)
        assert await self.left() == [0, 0, 0]
        return await requester.finished(answers)

    async def left(self) -> list[int]:
        """How many requests are in each queue."""
        names = harness.names(self.settings)
        return [
            await harness.depth(self.settings, queue) for queue in (names.partition(0), names.reads, names.unrouted)
        ]


@pytest.fixture
async def standing(settings: config.Settings) -> AsyncIterator[Standing]:
    async with harness.running(settings), requester.asking(settings) as db:
        await db.ask("session.create", {"id": SESSION})
    dead = harness.names(settings).dead
    async with requester.asking(settings) as db, requester.listening(settings, dead) as letters:
        yield Standing(settings, db, letters)


def assert_served_in_order(answers: Sequence[Message]) -> None:
    assert [answer.document["title"] for answer in answers] == [str(number) for number in range(MANY)]
    assert [answer.document["version"] for answer in answers] == [*range(2, MANY + 2)]


@pytest.mark.parametrize("point", ["decoding", "handling"])
async def test_a_write_that_kills_is_given_up_and_all_others_are_served_once_and_in_order(
    standing: Standing, point: str
) -> None:
    with poisoned(point):
        assert_served_in_order(await standing.ask(WRITES, WRITE))
    (letter,) = standing.letters.all
    assert (letter.reason, letter.headers["operation"]) == ("kills-process", "session.create")
    assert standing.deaths == 2 + 3  # it was twice among others, three times alone
    (answer,) = [answer for answer in standing.db.answers.all if answer.problem]
    assert answer.problem == "internal"
    assert await suspects(standing.settings) == 0


@pytest.mark.parametrize("point", ["reading", "decoding"])
async def test_a_read_that_kills_is_a_dead_letter_and_all_others_are_answered(standing: Standing, point: str) -> None:
    with poisoned(point):
        answers = await standing.ask(READS, READ)
    assert [answer.problem for answer in answers] == [None] * MANY
    assert [letter.reason for letter in standing.letters.all] == ["kills-process"]
    assert standing.deaths == 1 + 3
    assert await suspects(standing.settings) == 0


async def test_what_kills_unrouted_is_a_dead_letter_and_all_others_are_answered(standing: Standing) -> None:
    with poisoned("refusing"):
        answers = await standing.ask(UNKNOWN, UNROUTED)
    assert [answer.problem for answer in answers] == ["unknown-operation"] * MANY
    assert [letter.reason for letter in standing.letters.all] == ["kills-process"]
    assert standing.deaths == 1 + 3
    assert await suspects(standing.settings) == 0


async def test_what_kills_in_one_queue_condemns_nobody_in_another(standing: Standing) -> None:
    others = [await standing.db.publish(*request) for request in [*READS[:5], READ, *READS[5:], *UNKNOWN, UNROUTED]]
    with poisoned("decoding"), poisoned("refusing"):
        assert_served_in_order(await standing.ask(WRITES, WRITE, *others))
    problems = [answer.result().problem for answer in others]
    assert problems == [None] * 5 + ["internal"] + [None] * 5 + ["unknown-operation"] * MANY + ["internal"]
    operations = sorted(letter.headers["operation"] for letter in standing.letters.all)
    assert operations == ["nobody.at_all", "session.create", "session.list"]


async def test_what_kills_while_it_is_answered_is_a_dead_letter_all_the_same(standing: Standing) -> None:
    with poisoned("answering"):
        assert_served_in_order(await standing.ask(WRITES, WRITE))
    assert [letter.reason for letter in standing.letters.all] == ["kills-process"]


async def test_a_suspected_message_that_is_served_in_the_end_is_innocent(standing: Standing) -> None:
    """It was there when the process was killed from outside, say, and always the first in the queue."""
    with poisoned("handling", most=2 + 2):
        assert_served_in_order(await standing.ask(WRITES, WRITE))
    assert standing.deaths == 2 + 2
    assert await suspects(standing.settings) == 0
    assert not standing.letters.all


async def test_a_request_that_is_handed_over_again_and_again_is_not_given_up_for_that(standing: Standing) -> None:
    impatient = standing.settings.model_copy(update={"graceful_timeout": 0.05})
    answers = [await standing.db.publish(*request, f"m-{number}") for number, request in enumerate(WRITES)]
    counted = []
    for _ in range(2 + 4):
        service = Service(impatient)
        with hold(service, "") as held:  # before it starts, or it may have answered
            await service.app.start()
            try:
                async with asyncio.timeout(harness.DEADLINE):
                    await held.reached.wait()
                counted.append(await suspects(impatient))
            finally:
                await service.app.stop()
        assert await suspects(impatient) == 0
    assert counted == [0] * 2 + [1] * 4
    async with harness.running(standing.settings):
        await standing.db.ask("session.close", {"id": SESSION})
        assert await suspects(standing.settings) == 0
    assert_served_in_order(await requester.finished(answers))
    assert not standing.letters.all


async def test_a_process_makes_one_attempt_at_a_time_or_a_death_would_count_against_several(
    settings: config.Settings,
) -> None:
    running = 0

    async def serve(batch: Batch) -> None:
        nonlocal running
        running += 1
        assert (running, await suspects(settings)) == (1, 1)
        running -= 1

    async with harness.running(settings) as service:
        batches = [
            Batch([Delivery(1, key, Properties(), b"", 0)], asyncio.Event(), cast("Any", None), suspected=True)
            for key in "abc"
        ]
        outage = OutageRetry(service.database, partial(OutageDeadline, 1))
        isolated = service.subscribers.poison.isolating(serve, outage)
        await asyncio.gather(*map(isolated, batches))


async def test_attempts_of_long_ago_are_forgotten(settings: config.Settings) -> None:
    made = [{"key": b"k" * 32, "attempt": uuid4(), "begun_at": now() - timedelta(days)} for days in (6, 8)]
    async with Database(settings.dsn).connect() as connection:
        await connection.execute(attempts.table.insert(), made)
        await connection.commit()

    async def forgotten() -> bool:
        return await suspects(settings) == 1

    async with harness.running(settings):
        await harness.eventually(forgotten, "the older one is gone")
