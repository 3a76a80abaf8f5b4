"""A COMMIT in doubt: the process that sent it is gone, and the server has not ended it yet.

Whatever else would be answered meanwhile, what was applied is answered as such, and its event is told.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

import config
from src import crud, models
from src.consumers import decoder
from src.entity import Entity
from src.errors import Invalid
from src.processing import unit_of_work
from tests.support import harness, requester
from tests.support.harness import Process

LOCK = 42
HOLD = f"""
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER held AFTER INSERT ON sessions DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION hold()
"""

WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event"
END_IT = f"SELECT pg_terminate_backend(pid) {WAITING} = 'advisory'"


@contextlib.asynccontextmanager
async def commits_held(url: str) -> AsyncIterator[None]:
    """A transaction that makes a session does not get through its COMMIT before this is left."""
    await harness.script(url, HOLD)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SELECT pg_advisory_lock({LOCK})")
        yield
    finally:
        await connection.close()


async def waiting(url: str, what: str) -> bool:
    return bool((await harness.fetch(url, f"SELECT count(*) {WAITING} = :what", what=what))[0][0])


def too_late(monkeypatch: pytest.MonkeyPatch) -> Iterable[Entity]:
    monkeypatch.setattr(unit_of_work, "now", lambda: datetime.now(UTC) + timedelta(hours=2))
    return models.entities()


def broken(monkeypatch: pytest.MonkeyPatch) -> Iterable[Entity]:
    def create(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(crud, "create", create)
    return models.entities()


def of_another_version(monkeypatch: pytest.MonkeyPatch) -> Iterable[Entity]:
    return [entity for entity in models.entities() if entity.name != "session"]


def of_another_schema(monkeypatch: pytest.MonkeyPatch) -> Iterable[Entity]:
    def decoded(*_: object) -> None:
        raise Invalid

    monkeypatch.setattr(decoder, "_decoded", decoded)
    return models.entities()


@pytest.mark.parametrize(
    ("other", "ended"),
    [
        (too_late, "committed"),
        (too_late, "rolled back"),
        (broken, "committed"),
        (of_another_version, "committed"),
        (of_another_schema, "committed"),
    ],
)
async def test_a_write_whose_commit_is_in_doubt_is_not_answered_otherwise_before_that_has_ended(
    other: Callable[[pytest.MonkeyPatch], Iterable[Entity]],
    ended: str,
    settings: config.Settings,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadline = {"deadline": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    async with contextlib.AsyncExitStack() as stack:
        async with commits_held(database_url):
            async with Process(settings) as doomed:
                await doomed.consuming()
                db = await stack.enter_async_context(requester.asking(settings))
                events = await stack.enter_async_context(requester.listening(settings, harness.names(settings).events))
                answer = await db.publish("session.create", {"title": "applied"}, "m", deadline)
                await harness.eventually(lambda: waiting(database_url, "advisory"), "the COMMIT is held")
            await stack.enter_async_context(harness.running(settings, other(monkeypatch)))
            async with asyncio.timeout(harness.DEADLINE):
                while not await waiting(database_url, "transactionid"):
                    assert not answer.done()
            if ended == "rolled back":
                await harness.execute(database_url, END_IT)
        answered = await answer
        event = await events.one() if answered.problem is None else None
    titles = await harness.fetch(database_url, "SELECT title FROM sessions")
    assert (answered.problem is None) == (ended == "committed")
    assert titles == ([("applied",)] if ended == "committed" else [])
    assert await harness.fetch(database_url, "SELECT count(*) FROM inbox") == [(len(titles),)]
    assert event is None or event.body == answered.body
