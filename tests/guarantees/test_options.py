"""What a request may ask for besides its change: a rehearsal, a deadline, a version, an id of its own."""

from datetime import UTC, datetime
from typing import Any

import pytest

import config
from src.service import Service
from tests.guarantees.bad import BAD
from tests.guarantees.held import ask_together
from tests.guarantees.traces import no_more, sessions
from tests.guarantees.writes import EACH_WRITE, NOTE, REJECTED, SESSION, WRITES, Request, new_note
from tests.support import harness, requester
from tests.support.requester import Collected, Message, Requester

REHEARSE = {"dry-run": True}


def without_times(answer: Message) -> dict[str, Any]:
    """Without what differs each time that a request is served."""
    return {name: value for name, value in answer.document.items() if name != "id" and not name.endswith("_at")}


@EACH_WRITE
async def test_a_dry_run_is_answered_like_the_real_one_and_changes_nothing(
    write: Request, db: Requester, events: Collected, settings: config.Settings
) -> None:
    before = await sessions(settings)
    rehearsal = await db.ask(*write, "m", REHEARSE)
    assert await sessions(settings) == before
    real = await db.ask(*write, "m")
    assert (rehearsal.type, without_times(rehearsal)) == (real.type, without_times(real))
    assert [event.body for event in await no_more(db, events)] == [real.body]


async def test_a_dry_run_is_rejected_like_the_real_one(db: Requester, events: Collected) -> None:
    rehearsal = await db.ask(*REJECTED, "m", REHEARSE)
    assert await no_more(db, events) == []
    assert rehearsal == await db.ask(*REJECTED, "m")


async def test_a_dry_run_goes_wrong_like_the_real_one(service: Service, db: Requester, events: Collected) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    requests = [(*bad.request, "m", REHEARSE) for bad in BAD.values()]
    answers = await ask_together(service, db, requests)
    assert [answer.problem for answer in answers] == [bad.problem for bad in BAD.values()]
    assert [event.name for event in await no_more(db, events)] == ["note.created", "user.created"]
    assert (await db.ask("note.get", {"id": NOTE})).document["version"] == 1


async def test_a_dry_run_is_not_seen_by_the_rest_of_its_batch(service: Service, db: Requester) -> None:
    requests: list[Any] = [
        ("session.update", {"id": SESSION, "title": "one"}, "a"),
        ("session.delete", {"id": SESSION}, "b", REHEARSE),
        ("session.update", {"id": SESSION, "title": "two"}, "c", REHEARSE),
        ("session.update", {"id": SESSION, "title": "three"}, "d"),
    ]
    answers = await ask_together(service, db, requests)
    seen = [(answer.document["title"], answer.document["version"]) for answer in answers]
    assert seen == [("one", 2), ("one", 2), ("two", 3), ("three", 3)]


@pytest.mark.parametrize("past", ["2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)], ids=["text", "timestamp"])
async def test_a_request_past_its_deadline_is_refused_and_may_come_again(
    past: str | datetime, db: Requester, settings: config.Settings
) -> None:
    before = await sessions(settings)
    for operation, body in (*WRITES.values(), ("session.get", {"id": SESSION})):
        late = await db.ask(operation, body, operation, {"deadline": past})
        assert (late.problem, late.document["retryable"]) == ("deadline-exceeded", True)
    assert await sessions(settings) == before
    for operation, body in WRITES.values():
        in_time = await db.ask(operation, body, operation, {"deadline": "2126-01-01T00:00:00Z"})
        assert (in_time.type, in_time.problem) == (operation, None)


async def test_an_update_that_changes_nothing_is_answered_but_is_no_event(db: Requester, events: Collected) -> None:
    made = (await db.ask("session.get", {"id": SESSION})).document
    nothing_new: list[dict[str, Any]] = [{}, {"title": None}, {"metadata": {}}, {"version": 1}]
    for nothing in nothing_new:
        assert (await db.ask("session.update", {"id": SESSION} | nothing)).document == made
    assert await no_more(db, events) == []


@pytest.mark.parametrize("operation", ["session.update", "session.delete", "session.close"])
async def test_a_change_of_another_version_is_refused(operation: str, db: Requester, settings: config.Settings) -> None:
    before = await sessions(settings)
    assert (await db.ask(operation, {"id": SESSION, "version": 2})).problem == "version-mismatch"
    assert await sessions(settings) == before
    assert (await db.ask(operation, {"id": SESSION, "version": 1})).problem is None


async def test_a_write_without_a_message_id_is_served_each_time(db: Requester, events: Collected) -> None:
    for _ in range(2):
        assert (await db.ask(*WRITES["create"])).problem is None
    first, second = await no_more(db, events)
    assert first.id != second.id
    assert first.document["id"] != second.document["id"]


async def test_a_message_id_may_be_required_of_writes(settings: config.Settings) -> None:
    required = settings.model_copy(update={"require_message_id": True})
    async with harness.running(required), requester.asking(settings) as db:
        assert (await db.ask(*WRITES["create"])).problem == "idempotency-key-required"
        assert (await db.ask("session.count")).document == {"count": 0}
        assert (await db.ask(*WRITES["create"], "m")).problem is None
