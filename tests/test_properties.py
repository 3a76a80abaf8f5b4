"""Any sequence of writes, cut into any batches, gives the rows and the answers that it gives one by one.

Ids, usernames and parents come from pools of three, so that requests collide: a conflict, a parent that is gone, a row
deleted and made anew within one batch are the rule here.
"""

import asyncio
import itertools
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from src import models
from src.database import Database
from src.entity import Operation
from src.rows import Rows
from src.work.requests import Outcome, Request, inbox_key
from src.work.unit_of_work import UnitOfWork
from tests import harness

OPERATIONS = {operation.key: operation for entity in models.entities() for operation in entity.operations()}
TABLES = [entity.model.__tablename__ for entity in models.entities()]
MOMENTS = {"created_at", "updated_at", "started_at", "finished_at", "closed_at"}

ids = st.integers(1, 3).map(lambda number: str(uuid.UUID(int=number)))
names = st.sampled_from(["ada", "bob", "eve"])
some = st.lists(ids, min_size=1, max_size=3)
version: st.SearchStrategy[dict[str, int]] = st.one_of(
    st.just({}), st.fixed_dictionaries({"version": st.integers(1, 3)})
)


def one(key: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Requests of one operation."""
    return st.tuples(st.just(key), st.fixed_dictionaries({"id": ids, **fields}))


def change(key: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Requests of one operation, some of them held against a version."""
    return st.tuples(one(key, **fields), version).map(lambda pair: (pair[0][0], pair[0][1] | pair[1]))


requests = st.one_of(
    one("user.create", username=names),
    change("user.update", username=names),
    change("user.update", name=st.sampled_from(["x", None])),
    change("user.delete"),
    one("session.create", user_id=st.one_of(st.none(), ids)),
    change("session.update", user_id=st.one_of(st.none(), ids)),
    change("session.close"),
    change("session.reopen"),
    change("session.delete"),
    one("query.create", session_id=ids, text=names),
    one("query.create", session_id=ids, text=names),
    change("query.update", text=names),
    change("query.start"),
    change("query.complete", response=st.just({"a": 1})),
    change("query.delete"),
    one("chat.create", platform=st.just("irc"), external_id=names),
    change("chat.update", external_id=names),
    change("chat.add_members", user_ids=some),
    change("chat.remove_members", user_ids=some),
    change("chat.delete"),
    one("message.create", chat_id=ids, user_id=ids, role=st.just("user"), content=names),
    one("message.create", chat_id=ids, role=st.just("tool"), content=names, reply_to_id=ids),
    change("message.update", content=names),
    change("message.delete"),
    one("task.create", user_id=ids, title=names),
    change("task.complete"),
    change("task.delete"),
    one("log.create", user_id=ids, level=st.just("info"), source=names, message=names),
)
sent = st.tuples(requests, st.integers(0, 7), st.integers(0, 9))  # what, under which key (0-2: one of three), dry at 0
sequences = st.lists(sent, min_size=2, max_size=16)
cuts = st.lists(st.integers(1, 16), min_size=16, max_size=16)


class Counting(UnitOfWork):
    """Counts how often the second way was taken; what these requests collide in is decided without it."""

    halvings = 0

    async def _in_halves(self, *args: Any) -> list[Outcome]:
        self.halvings += 1
        return await super()._in_halves(*args)


class World:
    """A database, and the one event loop that its connections live in."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._url = url
        self._runner = runner
        self._database = Database(url)
        self.unit_of_work = Counting(self._database, max_answer=1_000_000)

    def close(self) -> None:
        self._runner.run(self._database.close())

    def play(self, batches: Sequence[Sequence[Request[Operation]]]) -> tuple[list[Any], list[Any]]:
        """The answers and events of these batches, and the rows that they leave, from an empty database."""
        return self._runner.run(self._play(batches))

    async def _play(self, batches: Sequence[Sequence[Request[Operation]]]) -> tuple[list[Any], list[Any]]:
        await harness.execute(self._url, f"TRUNCATE inbox, {', '.join(TABLES)} CASCADE")
        outcomes = [outcome for batch in batches for outcome in await self.unit_of_work.apply(batch)]
        rows = [
            json.loads(row)
            for table in TABLES
            for (row,) in await harness.fetch(self._url, f"SELECT to_json(t) FROM {table} t ORDER BY id")
        ]
        members = await harness.fetch(self._url, "SELECT chat_id, user_id FROM chat_members ORDER BY 1, 2")
        remembered = await harness.fetch(self._url, "SELECT key, fingerprint FROM inbox ORDER BY key")
        return [_comparable(outcome) for outcome in outcomes], [*map(_timeless, rows), *members, *remembered]


def _comparable(outcome: Outcome) -> Any:
    events = [(event.name, event.subject, event.version, _timeless(json.loads(event.body))) for event in outcome.events]
    return outcome.type, outcome.final, _timeless(json.loads(outcome.body)), events


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    """Only whether a moment is set: no two runs have the same."""
    return {name: value is not None if name in MOMENTS else value for name, value in document.items()}


def _request(index: int, what: tuple[tuple[str, dict[str, Any]], int, int]) -> Request[Operation]:
    (key, body), message, dry = what
    operation = OPERATIONS[key]
    data = operation.request.model_validate_json(json.dumps(body))
    if dry == 0:
        return Request(operation, data, dry_run=True)
    inbox_id = inbox_key("", str(message) if message < 3 else f"own {index}")
    return Request(operation, data, key=inbox_id, fingerprint=json.dumps([key, body]).encode())


def _cut(sequence: Sequence[Request[Operation]], sizes: Sequence[int]) -> list[Sequence[Request[Operation]]]:
    ends = [*itertools.accumulate(sizes)]
    return [sequence[start:end] for start, end in itertools.pairwise([0, *ends]) if start < len(sequence)]


def _differs(world: World, what: Sequence[Any], sizes: Sequence[int]) -> bool:
    sequence = [_request(*numbered) for numbered in enumerate(what)]
    apart, together = world.play([[request] for request in sequence]), world.play(_cut(sequence, sizes))
    return apart != together or world.unit_of_work.halvings > 0


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with asyncio.Runner() as runner:
        made = World(database_url, runner)
        yield made
        made.close()


SETTINGS = hypothesis.settings(
    deadline=None,
    max_examples=80,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)


@SETTINGS
@hypothesis.given(what=sequences, sizes=cuts)
def test_batches_give_the_rows_and_answers_of_one_by_one(
    world: World, what: Sequence[Any], sizes: Sequence[int]
) -> None:
    sequence = [_request(*numbered) for numbered in enumerate(what)]
    apart = world.play([[request] for request in sequence])
    together = world.play(_cut(sequence, sizes))
    assert together == apart
    assert not world.unit_of_work.halvings


async def _remove_without_flush_before(self: Rows, row: Any) -> None:
    await self._session.delete(row)
    await self._session.flush()
    self._note_removed(row)


async def _remove_without_flush_after(self: Rows, row: Any) -> None:
    await self._session.flush()
    await self._session.delete(row)
    self._note_removed(row)


few = st.just(str(uuid.UUID(int=1)))
deleting = st.one_of(
    st.tuples(st.just("session.create"), st.fixed_dictionaries({"id": few})),
    st.tuples(st.just("session.delete"), st.fixed_dictionaries({"id": few})),
    st.tuples(st.just("query.create"), st.fixed_dictionaries({"id": few, "session_id": few, "text": names})),
)


@pytest.mark.parametrize("remove", [_remove_without_flush_before, _remove_without_flush_after])
def test_the_property_finds_a_missing_flush_around_a_delete(
    world: World, monkeypatch: pytest.MonkeyPatch, remove: Any
) -> None:
    monkeypatch.setattr(Rows, "remove", remove)
    hypothesis.find(
        st.tuples(st.lists(st.tuples(deleting, st.just(7), st.just(9)), min_size=4, max_size=8), cuts),
        lambda given: _differs(world, *given),
        settings=hypothesis.settings(SETTINGS, max_examples=400, derandomize=True, phases=[hypothesis.Phase.generate]),
    )
