"""Requests that may be what kills the process: each attempt at one is written down before it is made.

A row is an attempt that has not ended: it is under way, or its process has not survived it. A row goes when its attempt
ends in any other way, so that what is left counts deaths. A process makes one attempt at a time, or a death would count
against several.
"""

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base
from src.database import Database, nobodys_fault

log = logging.getLogger(__name__)

ATTEMPTS = 3  # that a request is given
TAKE_BACK_TIMEOUT = 5  # seconds: a stop waits for it

table = sa.Table(
    "suspects",
    Base.metadata,
    sa.Column("key", sa.LargeBinary(32), primary_key=True, comment="sha256 of what tells a request from others"),
    sa.Column("attempt", sa.Uuid, primary_key=True),
    sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
)


def digest(*words: str | None, body: bytes) -> bytes:
    """The key of a request, without a look at what its body says."""
    return hashlib.sha256(repr(words).encode() + body).digest()


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at the request with this key. To begin it twice is to begin it once."""

    key: bytes
    id: UUID = field(default_factory=uuid4)


class Suspects:
    """The table. Whoever makes an attempt holds ``alone``."""

    def __init__(self, database: Database) -> None:
        self.alone = asyncio.Lock()
        self._database = database
        self._ended: set[UUID] = set()  # attempts whose rows the database was not there to delete

    async def begin(self, attempt: Attempt) -> bool:
        """Whether the attempt may be made; it is counted then, and committed. Raises Transient, Unavailable."""
        ended = list(self._ended)
        async with self._database.transaction() as session:
            with nobodys_fault():
                connection = await session.connection()
                await connection.execute(_DELETE_ENDED, {"ended": ended})
                await connection.execute(_BEGIN, {"key": attempt.key, "attempt": attempt.id})
                counted = await connection.scalar(_COUNT, {"key": attempt.key}) or 0
        self._ended.difference_update(ended)
        return counted <= ATTEMPTS

    async def take_back(self, attempt: Attempt) -> None:
        """It was given up, and says nothing of its request. Raises nothing."""
        await self._delete(attempt, table.c.attempt == attempt.id)

    async def acquit(self, attempt: Attempt) -> None:
        """Its request is done with, and whatever was counted against it. Raises nothing."""
        await self._delete(attempt, table.c.key == attempt.key)

    async def _delete(self, attempt: Attempt, which: sa.ColumnElement[bool]) -> None:
        try:
            async with asyncio.timeout(TAKE_BACK_TIMEOUT), self._database.transaction() as session:
                await (await session.connection()).execute(sa.delete(table).where(which))
        except Exception as error:  # whatever it is: the next attempt sees to it
            log.warning("an attempt that has ended still counts: %s", type(error).__name__)
            self._ended.add(attempt.id)


_BEGIN = insert(table).on_conflict_do_nothing()
_COUNT = sa.select(sa.func.count()).where(table.c.key == sa.bindparam("key"))
_DELETE_ENDED = sa.delete(table).where(
    table.c.attempt == sa.any_(sa.bindparam("ended", type_=sa.ARRAY(sa.Uuid, dimensions=1)))
)


async def purge(session: AsyncSession, retention: timedelta) -> int:
    """Forget the attempts that are older than this, by the clock of the database; how many they were."""
    deleted = await (await session.connection()).execute(
        sa.delete(table).where(table.c.begun_at < sa.func.now() - retention)
    )
    return deleted.rowcount
