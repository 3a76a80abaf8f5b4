"""Exactly once: a request is applied once, and answered and told the same however often it comes."""

import asyncio
from typing import Any

import msgpack
import pytest
import sqlalchemy as sa

import config
from src.database import Database
from src.processing import inbox, outcome_codec
from src.processing.outcome import Outcome
from src.processing.request import inbox_key
from src.service import Service
from tests.guarantees.held import ask_together
from tests.guarantees.traces import no_more, sessions
from tests.guarantees.writes import EACH_WRITE, MISSING, REJECTED, SESSION, WRITES, Request
from tests.support import harness, requester
from tests.support.requester import Collected, Message, Requester


@EACH_WRITE
async def test_a_duplicate_is_applied_once_and_answered_and_told_the_same(
    write: Request, db: Requester, events: Collected, settings: config.Settings
) -> None:
    first, event = await db.ask(*write, "m"), await events.one()
    after = await sessions(settings)
    again = await db.ask(*write, "m")
    assert first.problem is None
    assert (again, await no_more(db, events)) == (first, [event])
    assert await sessions(settings) == after


async def test_what_was_rejected_is_rejected_the_same_even_if_it_could_be_served_now(
    db: Requester, events: Collected
) -> None:
    first, event = await db.ask(*REJECTED, "m"), await events.one()
    await db.ask("session.create", {"id": MISSING})
    again = await db.ask(*REJECTED, "m")
    assert first.problem == "foreign-key"
    assert (again, (await no_more(db, events))[1:]) == (first, [event])
    assert (await db.ask(*REJECTED, "n")).problem is None


def stored(outcome: Outcome, version: str) -> bytes:
    """The outcome as another version of the service stores it."""
    events = [[event.name, event.subject, event.version, event.time, None] for event in outcome.events]
    first = [outcome.state.value, outcome.type, outcome.content_type, outcome.body]
    later: list[Any] = [2, 17, *first[1:], [[*event, "more", {}] for event in events], "more", [1], None]
    return bytes(msgpack.packb(later if version == "later" else [*first, events]))


@pytest.mark.parametrize("version", ["earlier", "later"])
async def test_what_another_version_has_served_is_answered_and_told_the_same(
    version: str, db: Requester, events: Collected, settings: config.Settings
) -> None:
    first, event = await db.ask(*WRITES["create"], "m"), await events.one()
    this = inbox.table.c.key == inbox_key("", "m")
    async with Database(settings.dsn).connect() as connection:
        row = await connection.scalar(sa.select(inbox.table.c.outcome).where(this))
        other = stored(outcome_codec.decode(row or b""), version)
        await connection.execute(inbox.table.update().where(this).values(outcome=other))
        await connection.commit()
    again = await db.ask(*WRITES["create"], "m")
    assert (again, await no_more(db, events)) == (first, [event])


@EACH_WRITE
async def test_a_hundred_copies_at_once_are_one_request(
    write: Request, db: Requester, events: Collected, settings: config.Settings
) -> None:
    before = await sessions(settings)
    answers = await asyncio.gather(*(db.ask(*write, "m") for _ in range(100)))
    told = await no_more(db, events)
    assert answers == [answers[0]] * 100
    assert answers[0].problem is None
    assert told == [told[0]] * 100
    after = await sessions(settings)
    assert len({*map(repr, after)} ^ {*map(repr, before)}) == (2 if len(after) == len(before) else 1)


@pytest.mark.parametrize("request_", [*WRITES.values(), REJECTED], ids=[*WRITES, "rejected"])
async def test_two_copies_in_one_batch_are_one_request(
    request_: Request, service: Service, db: Requester, events: Collected
) -> None:
    first, second = await ask_together(service, db, [(*request_, "m"), (*request_, "m")])
    _, *told = await no_more(db, events)
    assert first == second
    assert told == [told[0]] * 2


async def test_a_service_started_anew_answers_a_duplicate_the_same(settings: config.Settings) -> None:
    requests = [("session.create", {"id": SESSION}), *WRITES.values(), REJECTED]

    async def ask_all(db: Requester) -> list[Message]:
        async with harness.running(settings):
            return [await db.ask(*request, f"m-{number}") for number, request in enumerate(requests)]

    async with requester.asking(settings) as db:
        assert await ask_all(db) == await ask_all(db)


OTHERS: dict[str, tuple[Request, Any]] = {
    "body": (WRITES["create"], ("session.create", {"title": "other"})),
    "whitespace": (WRITES["create"], ("session.create", b'{ "title": "new" }')),
    "operation": (WRITES["command"], WRITES["delete"]),
}


@pytest.mark.parametrize(("request_", "other"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("when", ["apart", "in one batch"])
async def test_other_bytes_under_the_same_message_id_are_refused(
    request_: Request, other: Any, when: str, service: Service, db: Requester, events: Collected
) -> None:
    requests = [(*request_, "m"), (*other, "m"), (*request_, "m")]
    if when == "in one batch":
        first, second, third = await ask_together(service, db, requests)
    else:
        first, second, third = [await db.ask(*request) for request in requests]
    assert first == third
    assert (first.problem, second.problem) == (None, "idempotency-key-reused")
    told = {event.name for event in await no_more(db, events)} - {"user.created"}
    assert told == {"session.created" if other[0] == "session.create" else "session.closed", f"{other[0]}.failed"}


async def test_each_sender_has_message_ids_of_its_own(db: Requester) -> None:
    senders: list[dict[str, str]] = [{}, {"user_id": "guest"}]
    first = [await db.ask(*WRITES["create"], "m", **sender) for sender in senders]
    again = [await db.ask(*WRITES["create"], "m", **sender) for sender in senders]
    assert again == first
    assert first[0] != first[1]
    assert (await db.ask("session.count")).document == {"count": 3}


async def test_what_is_not_final_may_be_asked_again(db: Requester) -> None:
    failed = await db.ask("trouble.break", {"id": SESSION}, "m")
    assert (failed.problem, failed.document["retryable"]) == ("internal", True)
    assert (await db.ask("session.close", {"id": SESSION}, "m")).problem is None
