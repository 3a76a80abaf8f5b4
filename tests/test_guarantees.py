"""What is promised, whatever is sent: once, the same answer, alone to blame, nothing acked before it is out."""

import asyncio
import contextlib
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, String, exc, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

import config
from src import base, crud, models
from src.amqp.outgoing import Message as Outgoing
from src.amqp.publisher import Tries
from src.base import Change
from src.database import Database
from src.entity import Entity
from src.errors import IllegalTransition
from src.models.session import Session
from src.service import Service
from tests import harness, requester
from tests.requester import Collected, Message, Requester

# A new entity: all that is needed is here.


class OfTests(base.Record):
    """Tables that no migration knows."""

    __abstract__ = True
    metadata = MetaData(naming_convention=base.NAMING)


class Note(OfTests):
    __tablename__ = "notes"
    __table_args__ = (CheckConstraint("number >= 0", name="number"),)

    session_id: Mapped[UUID] = mapped_column(ForeignKey(Session.__table__.c.id, ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(unique=True)
    code: Mapped[str | None] = mapped_column(String(5))

    session: Mapped[Session] = relationship(Session, lazy="raise")


class CreateNote(base.Schema):
    session_id: UUID
    number: int
    code: str | None = None


class UpdateNote(base.Schema):
    number: int = base.UNCHANGED
    code: str | None = base.UNCHANGED


class ReadNote(base.Row):
    session_id: UUID
    number: int
    code: str | None


class ByNumber(base.Schema):
    number: int


note = Entity(Note, create=CreateNote, update=UpdateNote, read=ReadNote)


@note.command("file", emits="filed")
async def file(session: AsyncSession, request: Change) -> Note:
    return await crud.update(session, Note, request.id, {"code": "filed"}, request.version)


@note.query("by_number")
async def by_number(session: AsyncSession, request: ByNumber) -> Note:
    return await crud.find(session, Note, number=request.number)


class Retitle(base.Schema):
    id: UUID
    title: str


@note.command("retitle", emits="retitled")
async def retitle(session: AsyncSession, request: Retitle) -> Note:
    """Change a row that the request does not name."""
    row = await crud.get(session, Note, request.id)
    await crud.update(session, Session, row.session_id, {"title": request.title})
    return row


# What can go wrong in an operation: none of these handlers is as it should be.

trouble = Entity(Note, read=ReadNote, delete=False, name="trouble")


@trouble.command("break", emits="broken")
async def break_(session: AsyncSession, request: Change) -> object:
    raise ZeroDivisionError("what the request said")


@trouble.command("change_and_break", emits="broken")
async def change_and_break(session: AsyncSession, request: Change) -> object:
    await file(session, request)
    raise ZeroDivisionError("what the request said")


@trouble.command("change_and_refuse", emits="refused")
async def change_and_refuse(session: AsyncSession, request: Change) -> object:
    await file(session, request)
    raise IllegalTransition


@trouble.command("calculate", emits="calculated")
async def calculate(session: AsyncSession, request: Change) -> object:
    await session.execute(text("SELECT 1 / 0"))
    return await file(session, request)


@trouble.command("misspell", emits="misspelt")
async def misspell(session: AsyncSession, request: Change) -> object:
    await session.execute(text("SELEKT 1"))
    return await file(session, request)


@trouble.command("dawdle", emits="dawdled")
async def dawdle(session: AsyncSession, request: Change) -> object:
    await session.execute(text("SET LOCAL statement_timeout = 20"))
    await session.execute(text("SELECT pg_sleep(10)"))
    return await file(session, request)


@trouble.command("hide", emits="hidden")
async def hide(session: AsyncSession, request: Change) -> object:
    row = await file(session, request)
    with contextlib.suppress(exc.DBAPIError):
        await session.execute(text("SELECT 1 / 0"))
    return row


@trouble.command("babble", emits="babbled")
async def babble(session: AsyncSession, request: Change) -> object:
    await file(session, request)
    return {"what": object()}


ENTITIES = (*models.entities(), note, trouble)

SESSION, MISSING = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
NOTE = str(uuid.UUID(int=3))


@pytest.fixture
async def notes(settings: config.Settings) -> None:
    """The table of the new entity."""
    database = Database(settings.dsn)
    async with database.connect() as connection:
        await connection.run_sync(OfTests.metadata.create_all)
        await connection.commit()


@pytest.fixture
async def service(settings: config.Settings, notes: None) -> AsyncIterator[Service]:
    async with harness.running(settings, ENTITIES) as started:
        yield started


@pytest.fixture
async def db(service: Service, settings: config.Settings) -> AsyncIterator[Requester]:
    """A requester of the running service, in whose database there is a session."""
    async with requester.asking(settings) as asking:
        await asking.ask("session.create", {"id": SESSION})
        yield asking


@pytest.fixture
async def events(db: Requester, settings: config.Settings) -> AsyncIterator[Collected]:
    async with requester.listening(settings, harness.names(settings).events) as collected:
        yield collected


@pytest.fixture
async def dead_letters(db: Requester, settings: config.Settings) -> AsyncIterator[Collected]:
    async with requester.listening(settings, harness.names(settings).dead) as collected:
        yield collected


type Request = tuple[str, dict[str, Any]]

WRITES: dict[str, Request] = {
    "create": ("session.create", {"title": "new"}),
    "update": ("session.update", {"id": SESSION, "title": "changed"}),
    "command": ("session.close", {"id": SESSION}),
    "delete": ("session.delete", {"id": SESSION}),
}
REJECTED: Request = ("query.create", {"session_id": MISSING, "text": "Where?"})
EACH_WRITE = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


async def sessions(settings: config.Settings) -> list[tuple[Any, ...]]:
    return await harness.fetch(url(settings), "SELECT * FROM sessions ORDER BY id")


def url(settings: config.Settings) -> str:
    assert settings.database_url
    return settings.database_url.get_secret_value()


async def no_more(db: Requester, collected: Collected) -> list[Message]:
    """What has come, up to what comes of a request made now."""
    await db.ask("user.create", {"username": "the end"})
    return (await collected.until(b"the end"))[:-1]


class Held:
    """``reached`` when something was published; ``batches`` are how many messages at a time."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.batches: list[int] = []


def hold(service: Service, exchange: str) -> Held:
    """Keep the service from hearing that the broker has taken what goes to an exchange, until released."""
    held, publisher = Held(), service.publisher
    publish = publisher.publish

    async def publish_and_wait(messages: Sequence[Outgoing], tries: Tries) -> list[bool]:
        if not messages or messages[0].exchange != exchange:
            return await publish(messages, tries)
        held.batches.append(len(messages))
        taken = await publish(messages, tries)
        held.reached.set()
        await held.released.wait()
        return taken

    publisher.publish = publish_and_wait  # type: ignore[method-assign]
    return held


async def ask_together(service: Service, db: Requester, requests: Sequence[Any]) -> list[Message]:
    """The answers to (operation, body, message_id, …) each, that wait for another request, and so are one batch."""
    held = hold(service, "")
    await db.publish("user.create", {"username": "the one before"})
    await held.reached.wait()
    answers = [await db.publish(*request) for request in requests]

    async def arrived() -> bool:
        window = service.broker.batch_subscribers[0]._window
        return window is not None and len(window._arrived) == len(requests)

    try:
        await harness.eventually(arrived, "all have arrived")
    finally:
        held.released.set()
    finished = await requester.finished(answers)
    assert held.batches == [1, len(requests)]
    return finished


# Exactly once


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
    assert len(set(after) ^ set(before)) == (2 if len(after) == len(before) else 1)


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


# One bad request among many


@dataclass(frozen=True)
class Bad:
    """A request that cannot be served, and the problem that it is."""

    problem: str
    operation: str
    id: str = NOTE
    more: Any = None

    @property
    def request(self) -> Request:
        return self.operation, {"id": self.id} | (self.more or {})


def new_note(number: int, **more: Any) -> dict[str, Any]:
    return {"session_id": SESSION, "number": number} | more


BAD = {
    "an id that is taken": Bad("conflict", "note.create", more=new_note(1000)),
    "a unique value that is taken": Bad("conflict", "note.create", MISSING, new_note(0)),
    "a parent that is not there": Bad("foreign-key", "note.create", MISSING, new_note(1000, session_id=MISSING)),
    "a row that is not there": Bad("not-found", "note.file", MISSING),
    "a value that the driver refuses": Bad("invalid", "note.create", MISSING, new_note(2**31)),
    "a value that the database refuses": Bad("invalid", "note.create", MISSING, new_note(1000, code="too long")),
    "a change to a value that the database refuses": Bad("invalid", "note.update", more={"code": "too long"}),
    "a value that fails a check": Bad("invalid", "note.create", MISSING, new_note(-1)),
    "a bug": Bad("internal", "trouble.break"),
    "a bug after a change": Bad("internal", "trouble.change_and_break"),
    "a problem after a change": Bad("illegal-transition", "trouble.change_and_refuse"),
    "a statement that the database refuses": Bad("invalid", "trouble.calculate"),
    "a statement that is none": Bad("internal", "trouble.misspell"),
    "a statement that takes too long": Bad("internal", "trouble.dawdle"),
    "a refused statement that the handler hides": Bad("internal", "trouble.hide"),
    "an answer that is no JSON": Bad("internal", "trouble.babble"),
}


@pytest.mark.parametrize("bad", [*([bad] for bad in BAD.values()), [*BAD.values()]], ids=[*BAD, "all of these"])
async def test_a_bad_request_among_200_fails_alone(
    bad: list[Bad], service: Service, db: Requester, events: Collected, settings: config.Settings
) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    numbers = range(1, 201 - len(bad))
    requests: list[Any] = [("note.create", new_note(number), f"m-{number}") for number in numbers]
    for place, request in enumerate(bad):
        requests.insert(100 - 5 * place, (*request.request, f"m-bad-{place}"))
    answers = await ask_together(service, db, requests)
    told = Counter(event.name for event in await no_more(db, events))
    assert [answer.problem for answer in answers if answer.problem] == [request.problem for request in reversed(bad)]
    assert [answer.document["number"] for answer in answers if not answer.problem] == [*numbers]
    rows = await harness.fetch(url(settings), "SELECT number, code, version FROM notes ORDER BY number")
    assert rows == [(number, None, 1) for number in (0, *numbers)]
    failed = Counter(f"{request.operation}.failed" for request in bad if request.problem != "internal")
    assert told == failed + Counter({"note.created": len(numbers) + 1, "user.created": 1})


async def test_copies_on_both_sides_of_a_bad_request_are_one_request(service: Service, db: Requester) -> None:
    copies: list[Any] = [(*WRITES["create"], "m")] * 10
    answers = await ask_together(service, db, [*copies, ("trouble.break", {"id": NOTE}, "n"), *copies])
    assert answers.pop(10).problem == "internal"
    assert answers == [answers[0]] * 20


async def test_a_row_that_no_request_names_is_found_again_after_a_rollback(service: Service, db: Requester) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    requests = [("note.retitle", {"id": NOTE, "title": "new"}), ("trouble.break", {"id": NOTE})]
    retitled, broken = await ask_together(service, db, requests)
    assert (retitled.problem, broken.problem) == (None, "internal")
    assert (await db.ask("session.get", {"id": SESSION})).document["title"] == "new"


@pytest.mark.parametrize("operation", ["break_", "change_and_break"])
async def test_a_bug_reaches_the_operators_by_its_type_and_place(
    operation: str, db: Requester, dead_letters: Collected
) -> None:
    await db.ask("note.create", {"id": NOTE} | new_note(0))
    answer = await db.ask(f"trouble.{operation.rstrip('_')}", {"id": NOTE}, "m")
    letter = await dead_letters.one()
    assert (letter.id, letter.name, letter.document) == ("m", f"trouble.{operation.rstrip('_')}", {"id": NOTE})
    assert letter.headers["reason"] == answer.type
    assert re.fullmatch(rf"ZeroDivisionError at .*test_guarantees\.py:\d+ in {operation}", letter.headers["detail"])


# A new entity


async def test_a_new_entity_has_its_operations_and_events(db: Requester, events: Collected) -> None:
    made = (await db.ask("note.create", new_note(1))).document
    named = {"id": made["id"]}
    assert (await db.ask("note.get", named)).document == made
    changed = (await db.ask("note.update", named | {"code": "new"})).document
    assert (changed["code"], changed["version"]) == ("new", 2)
    filed = (await db.ask("note.file", named | {"version": 2})).document
    assert (filed["code"], filed["version"]) == ("filed", 3)
    assert (await db.ask("note.by_number", {"number": 1})).document == filed
    assert (await db.ask("note.list", {"where": {"code": "filed"}})).document["items"] == [filed]
    assert (await db.ask("note.count")).document == {"count": 1}
    assert (await db.ask("note.delete", named)).document == filed
    assert (await db.ask("note.exists")).document == {"exists": False}
    told = await no_more(db, events)
    assert [event.name for event in told] == ["note.created", "note.updated", "note.filed", "note.deleted"]
    assert [event.document for event in told] == [made, changed, filed, filed]


# Nothing is acked before what comes of it is out


def changed(settings: config.Settings, **values: Any) -> config.Settings:
    return settings.model_copy(update=values)


@contextlib.asynccontextmanager
async def full_queue(settings: config.Settings) -> AsyncIterator[aio_pika.abc.AbstractQueue]:
    """A subscriber to all events that takes none until it is consumed."""
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as channel:
        limits: Any = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue(exclusive=True, arguments=limits)
        await channel.default_exchange.publish(aio_pika.Message(b"full"), queue.name)
        await queue.bind(harness.names(settings).events, "#")
        yield queue


@pytest.mark.parametrize("kind", ["answers", "events", "dead letters"])
async def test_a_request_is_not_acked_before_what_comes_of_it_is_confirmed(
    kind: str, settings: config.Settings
) -> None:
    names, impatient = harness.names(settings), changed(settings, graceful_timeout=0.05)
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
        async with harness.running(impatient) as first:
            held = hold(first, exchange)
            await db.publish(*request, "m", reply_to=db.reply_to if kind == "answers" else None)
            await held.reached.wait()
        assert await harness.depth(settings, names.partition(0)) == 1
        async with harness.running(settings):
            once, again = await out.take(2)
        assert await harness.depth(settings, names.partition(0)) == 0
    assert (once.id, once.body) == (again.id, again.body)
    assert held.batches == [1]


async def test_an_event_that_a_subscriber_refuses_is_published_again(
    db: Requester, events: Collected, settings: config.Settings
) -> None:
    async with full_queue(settings) as queue:
        assert (await db.ask("session.close", {"id": SESSION}, "m")).problem is None
        first, second = await events.take(2)
        async with queue.iterator(no_ack=True) as taken:
            arrived = [(await anext(taken)).body for _ in range(2)]
        assert await harness.depth(settings, harness.names(settings).dead) == 0
    assert arrived == [b"full", first.body]
    assert first == second


async def test_an_event_refused_for_too_long_is_a_dead_letter_and_the_service_goes_on(
    settings: config.Settings,
) -> None:
    async with (
        harness.running(changed(settings, publish_patience=0.1)),
        requester.asking(settings) as db,
        requester.listening(settings, harness.names(settings).dead) as dead_letters,
        full_queue(settings),
    ):
        served = [await db.ask("session.create", {}, message_id) for message_id in ("m", "n")]
        letters = await dead_letters.take(2)
    assert [(letter.id, letter.headers["reason"]) for letter in letters] == [("m", "unpublished"), ("n", "unpublished")]
    assert [answer.problem for answer in served] == [None, None]
    assert await harness.depth(settings, harness.names(settings).partition(0)) == 0


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


# What a request may ask for


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
    required = changed(settings, require_message_id=True)
    async with harness.running(required), requester.asking(settings) as db:
        assert (await db.ask(*WRITES["create"])).problem == "idempotency-key-required"
        assert (await db.ask("session.count")).document == {"count": 0}
        assert (await db.ask(*WRITES["create"], "m")).problem is None
