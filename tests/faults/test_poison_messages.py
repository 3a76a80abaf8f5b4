"""A request that kills the process, in a process of its own that is started again whenever it dies."""

import asyncio
import itertools
import signal
from collections.abc import Sequence
from typing import Any

import pytest

import config
from dev.postgres import PostgresServer
from src.service import Service
from tests.faults import crash
from tests.guarantees import deadly
from tests.guarantees.held import hold
from tests.guarantees.writes import SESSION, Request
from tests.support import harness, requester
from tests.support.harness import Process
from tests.support.requester import Message

MANY = 100
WRITES: list[Request] = [("session.update", {"id": SESSION, "title": str(number)}) for number in range(MANY)]
READS: list[Request] = [("session.get", {"id": SESSION})] * MANY
UNKNOWN: list[Request] = [("nobody.knows", {})] * MANY
KILLS = {
    "a write, decoding": ("decoding", WRITES, ("session.create", {"title": crash.POISON}), 5),
    "a write, handling": ("handling", WRITES, ("session.create", {"title": crash.POISON}), 5),
    "a read": ("reading", READS, ("session.list", {"where": {"title": crash.POISON}}), 4),
    "unrouted": ("refusing", UNKNOWN, ("nobody.at_all", {"title": crash.POISON}), 4),
}


async def deaths(settings: config.Settings, point: str, answered: asyncio.Future[list[Message]]) -> int:
    """Start the service again whenever it dies, until all is answered; how often it has died."""
    for died in itertools.count():
        async with Process(settings, point) as process:
            ended = asyncio.create_task(process.wait())
            either: set[asyncio.Future[Any]] = {ended, answered}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                assert await ended == -signal.SIGKILL
                continue
            process.signal(signal.SIGTERM)
            assert await ended == 0
            return died
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize(("point", "innocents", "kills", "most"), KILLS.values(), ids=KILLS)
async def test_of_a_hundred_and_one_requests_the_one_that_kills_is_a_dead_letter(
    settings: config.Settings, point: str, innocents: Sequence[Request], kills: Request, most: int
) -> None:
    async with harness.running(settings), requester.asking(settings) as db:
        await db.ask("session.create", {"id": SESSION})
    names = harness.names(settings)
    async with requester.asking(settings) as db, requester.listening(settings, names.dead) as letters:
        half = MANY // 2
        requests = [*innocents[:half], kills, *innocents[half:]]
        answers = [await db.publish(*request, f"m-{number}") for number, request in enumerate(requests)]
        assert await deaths(settings, point, asyncio.gather(*answers)) == most
    problems = [answer.result().problem for answer in answers]
    assert problems == [*problems[:half], "internal", *problems[half + 1 :]]
    assert set(problems[:half] + problems[half + 1 :]) == {"unknown-operation" if innocents is UNKNOWN else None}
    if innocents is WRITES:
        versions = [answer.result().document["version"] for answer in answers if not answer.result().problem]
        assert versions == [*range(2, MANY + 2)]
    assert [letter.reason for letter in letters.all] == ["kills-process"]
    assert await harness.fetch(settings.dsn, "SELECT * FROM suspects") == []
    for queue in (names.partition(0), names.reads, names.unrouted):
        assert await harness.depth(settings, queue) == 0


@pytest.mark.slow
async def test_an_outage_of_the_database_while_a_message_is_isolated_costs_waiting_and_condemns_nobody(
    fragile: config.Settings, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with harness.running(fragile), requester.asking(fragile) as db:
        await db.ask("session.create", {"id": SESSION})
    names = harness.names(fragile)
    async with requester.asking(fragile) as db, requester.listening(fragile, names.dead) as letters:
        answers = [await db.publish(*request) for request in WRITES[:5]]
        await db.publish("session.create", {"title": crash.POISON}, "deadly")
        answers += [await db.publish(*request) for request in WRITES[5:10]]
        answered = asyncio.gather(*answers)

        async def away() -> bool:
            """The database went away while an attempt was made, which could not be taken back; the next one waits."""
            seen = ("attempt that has ended still counts", "with 1 suspected poison messages")
            return all(text in caplog.text for text in seen)

        with deadly.poisoned("decoding"):
            for _ in range(2):
                assert await deadly.deaths(fragile, never, most=1) == 1
            service = Service(fragile)
            with hold(service, "") as held:
                await service.app.start()
                await held.reached.wait()
                await asyncio.to_thread(postgres.stop)
                held.released.set()
                await harness.eventually(away, "it waits for the database")
                await asyncio.to_thread(postgres.start)
                await harness.eventually(lambda: died(service), "the deadly one's turn has come")
                await service.app.stop()
            assert await deadly.deaths(fragile, lambda: done(answered)) == 2
    versions = [answer.document["version"] for answer in answered.result()]
    assert versions == [*range(2, 12)]
    assert [(letter.id, letter.reason) for letter in letters.all] == [("deadly", "kills-process")]
    assert await deadly.suspects(fragile) == 0


async def never() -> bool:
    return False


async def died(service: Service) -> bool:
    return service.failure is not None


async def done(answered: asyncio.Future[list[Message]]) -> bool:
    return answered.done()
