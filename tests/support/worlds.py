"""A database in which a sequence of batches is played, and what comes of it, made comparable."""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pydantic_core
import sqlalchemy as sa
import uvloop
from pydantic import ValidationError

from src import models
from src.base import Base
from src.database import Database
from src.entity import Operation
from src.processing.outcome import Outcome
from src.processing.request import Request, inbox_key
from src.processing.row_size import RowSizeLimit
from src.processing.unit_of_work import UnitOfWork
from tests.support import exact_json, folders, harness, programs

ENTITIES = (*models.entities(), *programs.ENTITIES)
OPERATIONS = {op.key: op for entity in ENTITIES for op in entity.operations() if op.writes}
TABLES = [*Base.metadata.sorted_tables, *folders.OfFolders.metadata.sorted_tables]
MOMENTS = {"time"} | {
    column.name for table in TABLES for column in table.columns if isinstance(column.type, sa.DateTime)
}
INVISIBLE = {"inbox": {"outcome", "received_at"}, "chat_members": {"id"}}  # no two runs have the same

LARGEST = 100_000  # bytes of an answer

type Rows = dict[str, dict[str, Any]]
"""What the tables hold, by table and id."""


@dataclass(frozen=True)
class Sent:
    """A request: its operation, its body, the key that it is sent under, if any."""

    operation: str
    body: dict[str, Any]
    key: str = ""
    dry: bool = False
    late: bool = False

    def request(self) -> Request[Operation]:
        """What the unit of work is given. Raises ValidationError."""
        operation, body = OPERATIONS[self.operation], exact_json.encode(self.body)
        return Request(
            operation,
            operation.request.model_validate_json(body),
            key=inbox_key("", self.key) if self.key else None,
            fingerprint=hashlib.sha256(self.operation.encode() + body).digest(),
            deadline=datetime(2026, 1, 1, tzinfo=UTC) if self.late else None,
            dry_run=self.dry,
        )

    @property
    def fits(self) -> bool:
        """It would get as far as the unit of work."""
        try:
            return bool(self.request())
        except ValidationError:
            return False


type Batch = Sequence[Sent]


@dataclass(frozen=True)
class Played:
    """The answers with their events, and the rows at the end; of each moment only when it was beside the others."""

    answers: list[dict[str, Any]]
    rows: Rows


class Counting(UnitOfWork):
    """Counts the calls of the bisection."""

    bisections = 0

    async def _bisect(self, *args: Any) -> list[Outcome]:
        self.bisections += 1
        return await super()._bisect(*args)


class World:
    """A database, and the one event loop that its connections live in."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        self.run = runner.run
        self.database = database
        self._unit_of_work = Counting(database, RowSizeLimit(ENTITIES, LARGEST))

    @classmethod
    @contextmanager
    def beside(cls, postgres_url: str, template: str) -> Iterator[Self]:
        """A database cloned from the template, with the tables of the programs besides; gone at the end."""
        with asyncio.Runner() as runner:
            cloned = harness.cloned(postgres_url, template)
            url = runner.run(cloned.__aenter__())
            try:
                with cls.at(url) as world:
                    yield world
            finally:
                runner.run(cloned.__aexit__(None, None, None))

    @classmethod
    @contextmanager
    def at(cls, url: str) -> Iterator[Self]:
        """The migrated database at the URL, with the tables of the programs besides."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            database = Database(url)
            runner.run(prepare(database))
            yield cls(runner, database)
            runner.run(database.dispose())

    def begin(self, batch: Batch = ()) -> None:
        """Empty every table, and play a batch that nothing is asked about."""
        self.execute(*(sa.delete(table) for table in reversed(TABLES)))
        self.play(batch)

    def execute(self, *statements: sa.Executable) -> None:
        """In a transaction that is none of the service's."""
        self.run(self._execute(statements))

    async def _execute(self, statements: Iterable[sa.Executable]) -> None:
        async with self.database.session() as session:
            for statement in statements:
                await session.execute(statement)

    def play(self, batch: Batch) -> tuple[list[Outcome], int]:
        """The outcomes of one batch, and how often the second way was taken."""
        if not batch:
            return [], 0
        self._unit_of_work.bisections = 0
        outcomes = self.run(self._unit_of_work.apply([sent.request() for sent in batch]))
        return outcomes, self._unit_of_work.bisections

    def statements(self, batch: Batch) -> list[str]:
        """What one batch says to the database."""
        said: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            said.append(statement)

        engine = self.database.engine.sync_engine
        sa.event.listen(engine, "before_cursor_execute", note)
        self.play(batch)
        sa.event.remove(engine, "before_cursor_execute", note)
        return said

    def rows(self) -> Rows:
        """What every table holds now."""
        return self.run(rows(self.database))


async def prepare(database: Database) -> None:
    """Make the tables of the programs."""
    async with database.connect() as connection:
        await connection.run_sync(folders.OfFolders.metadata.create_all)
        await connection.commit()


async def rows(database: Database) -> Rows:
    """What every table of the database holds, each value as JSON has it."""
    found: Rows = {}
    async with database.reading() as session:
        for table in TABLES:
            answers = (await session.execute(SELECT[table])).mappings()
            found |= dict(_told(table, row) for row in answers)
    return found


def _told(table: sa.Table, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The row, by its table and id, or its key; by all that is visible where nothing else tells it apart."""
    texts = {name: text for name, text in row.items() if isinstance(table.c[name].type, sa.JSON)}
    nested = {name: text and exact_json.decode(text) for name, text in texts.items()}
    told = exact_json.decode(pydantic_core.to_json(dict(row), bytes_mode="hex")) | nested
    return f"{table.name} {told.get('id') or told.get('key') or told}", told


def _select(table: sa.Table) -> sa.Select[Any]:
    """The visible columns; JSON as its text, whose numbers Python would round."""
    seen = [column for column in table.columns if column.name not in INVISIBLE.get(table.name, ())]
    return sa.select(*(_as_text(each) if isinstance(each.type, sa.JSON) else each for each in seen))


def _as_text(column: sa.Column[Any]) -> sa.ColumnElement[str]:
    return sa.cast(column, sa.Text).label(column.name)


SELECT = {table: _select(table) for table in TABLES}


def document(outcome: Outcome) -> dict[str, Any]:
    """Everything that is told about a request."""
    events = [
        {"name": e.name, "subject": e.subject, "version": e.version, "time": e.time, "body": exact_json.decode(e.body)}
        for e in outcome.events
    ]
    told = {"type": outcome.type, "state": outcome.state.name, "final": outcome.final, "events": events}
    return told | {"content_type": outcome.content_type, "body": exact_json.decode(outcome.body)}


def played(outcomes: Iterable[Outcome], rows: Rows) -> Played:
    """What can be compared with another run."""
    return comparable([document(outcome) for outcome in outcomes], rows)


def comparable(answers: list[dict[str, Any]], rows: Rows) -> Played:
    """The same, with the rank of each moment in its place."""
    ranks = {moment: rank for rank, moment in enumerate(sorted({*_moments([answers, rows])}))}
    answers, rows = _ranked([answers, rows], ranks)
    return Played(answers, rows)


def _moments(told: Any) -> Iterator[datetime]:
    if isinstance(told, list):
        for each in told:
            yield from _moments(each)
    elif isinstance(told, dict):
        for name, value in told.items():
            yield from _moments(value)
            if name in MOMENTS and value is not None:
                yield datetime.fromisoformat(value)


def _ranked(told: Any, ranks: dict[datetime, int]) -> Any:
    match told:
        case list():
            return [_ranked(each, ranks) for each in told]
        case dict():
            return {
                name: ranks[datetime.fromisoformat(value)] if name in MOMENTS and value else _ranked(value, ranks)
                for name, value in told.items()
            }
        case _:
            return told
