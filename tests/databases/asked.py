"""A migrated database of one kind, asked by operations, without a broker."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from src import models
from src.consumers import decoder
from src.database import Database
from src.entity import Operation
from src.errors import PREFIX, Problem
from src.processing.outcome import Outcome
from src.processing.read_batch import BatchReader
from src.processing.request import Request
from src.processing.row_size import RowSizeLimit
from src.processing.unit_of_work import UnitOfWork
from tests.databases import measures

ENTITIES = (*models.entities(), measures.entity)
OPERATIONS = {operation.key: operation for entity in ENTITIES for operation in entity.operations()}
LARGEST = 20 * 1024 * 1024  # bytes of a body and of an answer


@dataclass(frozen=True)
class Answer:
    """What was answered: the operation's name or the problem's, and the body."""

    kind: str
    body: Any


class Asked:
    """The database, in which the tables of ``measures`` are besides."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._writer = UnitOfWork(database, RowSizeLimit(ENTITIES, LARGEST))
        self._reader = BatchReader(database, LARGEST, 3)

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str) -> AsyncIterator["Asked"]:
        """The one at this URL."""
        database = Database(url)
        async with database.connect() as connection:
            await connection.run_sync(measures.OfMeasures.metadata.create_all)
            await connection.commit()
        yield cls(database)
        await database.dispose()

    async def ask(self, key: str, body: Any) -> Answer:
        """Decoded as it would be from the wire; a text is JSON already. Raises Unavailable."""
        try:
            request = decoded(key, body if isinstance(body, str) else json.dumps(body))
        except Problem as problem:
            return _answer(Outcome.of(problem))
        (answer,) = await self.apply(OPERATIONS[key], [request])
        return answer

    async def apply(self, operation: Operation, requests: Sequence[Request[Operation]]) -> list[Answer]:
        """What a batch of one operation is answered, in whatever order. Raises Unavailable."""
        if operation.writes:
            return [_answer(outcome) for outcome in await self._writer.apply(requests)]
        return [_answer(outcome) async for part in self._reader.apply(requests) for _, outcome in part]


def decoded(key: str, body: str, *, dry_run: bool = False) -> Request[Operation]:
    """Raises the Problem that is decided from the bytes alone."""
    data = decoder._decoded(OPERATIONS[key], body.encode(), LARGEST)
    return Request(OPERATIONS[key], data, key=None, fingerprint=b"", deadline=None, dry_run=dry_run)


def _answer(outcome: Outcome) -> Answer:
    return Answer((outcome.type or "").removeprefix(PREFIX), json.loads(outcome.body))
