"""Attempts at requests that are suspected to be poison messages; each attempt is counted before it is made.

A row of the table ``suspects`` is an attempt that has not ended: it is running, or its process died during the attempt.
The end of an attempt deletes its row, so that the remaining rows of a request count the deaths of a process. A process
makes one attempt at a time, or its death would count against several requests.
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

ATTEMPTS = 3  # attempts at a request; a further one is not allowed
DELETE_TIMEOUT = 5  # seconds: a stop waits for it

table = schema.suspects


type CountAttempt = Callable[[], Awaitable[bool]]
"""Counts the attempt once, and returns whether the attempt is allowed. Raises Transient and Unavailable."""


def request_key(*properties: str | None, body: bytes) -> bytes:
    """Return the key of a request in the table, from its properties and its undecoded body."""
    return hashlib.sha256(repr(properties).encode() + body).digest()


class Attempts:
    """The attempts in the table. An attempt that raises one of ``survived_errors`` does not count as a death."""

    def __init__(self, database: Database, survived_errors: tuple[type[BaseException], ...]) -> None:
        self._database = database
        self._survived_errors = survived_errors
        self._one_at_a_time = asyncio.Lock()
        self._ended: set[UUID] = set()  # attempts whose rows could not be deleted while the database was unavailable

    @asynccontextmanager
    async def attempt(self, key: bytes) -> AsyncIterator[CountAttempt]:
        """Wait for the running attempt to end, then make one at the request with this key.

        An attempt that succeeds deletes all attempts at the request: it is no poison message.
        """
        attempt = uuid4()
        async with self._one_at_a_time:
            try:
                yield partial(self._count, key, attempt)
            except self._survived_errors:
                await self._delete(attempt, table.c.attempt == attempt)
                raise
            await self._delete(attempt, table.c.key == key)

    async def _count(self, key: bytes, attempt: UUID) -> bool:
        """Insert the attempt, if it is not there yet. Return whether it is one of the first ATTEMPTS."""
        ended, dialect = list(self._ended), self._database.dialect
        async with self._database.session() as session:
            with infrastructure_errors():
                connection = await session.connection()
                await connection.execute(_delete_ended(dialect), {"ended": ended})
                row: dict[str, list[Any]] = {"key": [key], "attempt": [attempt], "begun_at": [now()]}
                await connection.execute(*dialect.insert_statement(table, row, skip_existing=True))
                counted = await connection.scalar(_COUNT_ATTEMPTS, {"key": key}) or 0
        self._ended.difference_update(ended)
        return counted <= ATTEMPTS

    async def _delete(self, attempt: UUID, which: sa.ColumnElement[bool]) -> None:
        """Delete the rows of an attempt that has ended. Raises nothing."""
        try:
            async with asyncio.timeout(DELETE_TIMEOUT), self._database.session() as session:
                await (await session.connection()).execute(sa.delete(table).where(which))
        except Exception as error:  # the next attempt deletes the row
            log.warning("an attempt that has ended still counts: %s", type(error).__name__)
            self._ended.add(attempt)


_COUNT_ATTEMPTS = sa.select(sa.func.count()).where(table.c.key == sa.bindparam("key"))


@cache
def _delete_ended(dialect: Dialect) -> sa.Delete:
    return sa.delete(table).where(dialect.in_parameter(table.c.attempt, "ended"))


async def purge(session: AsyncSession, before: datetime) -> int:
    """Delete the attempts that began before that time, and return their number."""
    deleted = await (await session.connection()).execute(sa.delete(table).where(table.c.begun_at < before))
    return deleted.rowcount
