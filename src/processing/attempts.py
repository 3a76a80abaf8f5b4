"""Requests that may be what kills the process: each attempt at one is written down before it is made.

A row is an attempt that has not ended: it is under way, or its process has not survived it. A row goes when its attempt
ends in any other way, so that what is left counts deaths. A process makes one attempt at a time, or a death would count
against several.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache, partial
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from src import schema
from src.clock import now
from src.database import Database
from src.dialects import Dialect
from src.dialects.driver_errors import infrastructure_errors

log = logging.getLogger(__name__)

ATTEMPTS = 3  # that a request is given
DELETE_TIMEOUT = 5  # seconds: a stop waits for it

table = schema.suspects


def digest(*words: str | None, body: bytes) -> bytes:
    """The key of a request, without a look at what its body says."""
    return hashlib.sha256(repr(words).encode() + body).digest()


type Begin = Callable[[], Awaitable[bool]]


class Attempts:
    """The table. An attempt that ends with what the process ``survives`` is forgotten, and blames nobody."""

    def __init__(self, database: Database, survives: tuple[type[BaseException], ...]) -> None:
        self._database = database
        self._survives = survives
        self._alone = asyncio.Lock()
        self._ended: set[UUID] = set()  # attempts whose rows the database was not there to delete

    @asynccontextmanager
    async def attempt(self, key: bytes) -> AsyncIterator[Begin]:
        """An attempt at the request with this key, once no other is made. Whoever gets to its end is acquitted.

        What this gives counts it, once however often it is called, and says whether the attempt may be made. It raises
        Transient, Unavailable.
        """
        attempt = uuid4()
        async with self._alone:
            try:
                yield partial(self._begin, key, attempt)
            except self._survives:
                await self._delete(attempt, table.c.attempt == attempt)
                raise
            await self._delete(attempt, table.c.key == key)

    async def _begin(self, key: bytes, attempt: UUID) -> bool:
        ended, dialect = list(self._ended), self._database.dialect
        async with self._database.session() as session:
            with infrastructure_errors():
                connection = await session.connection()
                await connection.execute(_deletion(dialect), {"ended": ended})
                row: dict[str, list[Any]] = {"key": [key], "attempt": [attempt], "begun_at": [now()]}
                await connection.execute(*dialect.insert_statement(table, row, skip_existing=True))
                counted = await connection.scalar(_COUNT, {"key": key}) or 0
        self._ended.difference_update(ended)
        return counted <= ATTEMPTS

    async def _delete(self, attempt: UUID, which: sa.ColumnElement[bool]) -> None:
        """The attempt has ended, and counts no more. Raises nothing."""
        try:
            async with asyncio.timeout(DELETE_TIMEOUT), self._database.session() as session:
                await (await session.connection()).execute(sa.delete(table).where(which))
        except Exception as error:  # whatever it is: the next attempt sees to it
            log.warning("an attempt that has ended still counts: %s", type(error).__name__)
            self._ended.add(attempt)


_COUNT = sa.select(sa.func.count()).where(table.c.key == sa.bindparam("key"))


@cache
def _deletion(dialect: Dialect) -> sa.Delete:
    return sa.delete(table).where(dialect.in_parameter(table.c.attempt, "ended"))


async def purge(session: AsyncSession, before: datetime) -> int:
    """Forget the attempts that were begun before that time; how many they were."""
    deleted = await (await session.connection()).execute(sa.delete(table).where(table.c.begun_at < before))
    return deleted.rowcount
