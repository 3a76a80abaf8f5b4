"""The inbox: the keys of served requests with their outcomes.

A row is written once, by the last statement of the transaction that applies the request. A request has been applied if
and only if its row exists.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from src import schema
from src.clock import now
from src.database import Database
from src.dialects import Dialect
from src.persistence import identity_map
from src.processing import outcome_codec
from src.processing.outcome import Outcome
from src.processing.request import RejectedRequest, Request

table = schema.inbox


class ConcurrentDuplicate(Exception):
    """Another consumer has served one of these requests in the meantime; the transaction must be rolled back."""


@dataclass(slots=True)
class Entry:
    """One served request."""

    fingerprint: bytes
    outcome: Outcome

    def answers(self, request: Request[Any] | RejectedRequest) -> bool:
        """Return whether the request is the same one, and not another one under the same key."""
        return self.fingerprint == request.fingerprint


@dataclass(slots=True)
class SeenRequests:
    """The requests that were served before: ``found`` in the table, or ``served`` by the batch itself."""

    found: Mapping[bytes, Entry]
    served: dict[bytes, Entry] = field(default_factory=dict)

    def get(self, request: Request[Any] | RejectedRequest) -> Entry | None:
        """Return the request that was served before under the same key."""
        if request.key is None:
            return None
        return self.found.get(request.key) or self.served.get(request.key)

    def reject(self, request: RejectedRequest) -> Outcome:
        """Return the stored outcome of the same request, or else its rejection."""
        entry = self.get(request)
        return entry.outcome if entry and entry.answers(request) else request.outcome

    def remember(self, request: Request[Any], outcome: Outcome) -> None:
        """Remember the outcome, if it is final and the first one of its key."""
        if request.key and outcome.final and request.key not in self.found:
            self.served.setdefault(request.key, Entry(request.fingerprint, outcome))

    def copy(self) -> "SeenRequests":
        """Return a copy, to be discarded if its requests are rolled back."""
        return SeenRequests(self.found, dict(self.served))


async def look_up(connection: AsyncConnection, dialect: Dialect, keys: Collection[bytes]) -> dict[bytes, Entry]:
    """Return the requests that were served before under these keys."""
    if not keys:
        return {}
    found = await connection.execute(_query(dialect), {"keys": [*keys]})
    return {key: Entry(fingerprint, outcome_codec.decode(outcome)) for key, fingerprint, outcome in found}


async def record(
    connection: AsyncConnection, dialect: Dialect, entries: Mapping[bytes, Entry], unserved: Collection[bytes] = ()
) -> None:
    """Insert the served requests, sorted by key so that two consumers cannot deadlock. Raises ConcurrentDuplicate.

    ``unserved`` keys, whose outcome is not stored, are inserted and deleted again: the insert waits for a transaction
    that has inserted the same key and not yet ended.
    """
    keys = sorted([*entries, *unserved])
    if not keys:
        return
    arrays: dict[str, list[Any]] = {
        "key": keys,
        "fingerprint": [entries[key].fingerprint if key in entries else b"" for key in keys],
        "outcome": [outcome_codec.encode(entries[key].outcome) if key in entries else b"" for key in keys],
        "received_at": [now()] * len(keys),
    }
    written = await connection.execute(*dialect.insert_statement(table, arrays, skip_existing=True))
    if written.rowcount < len(keys):
        raise ConcurrentDuplicate
    if unserved:
        await connection.execute(_deletion(dialect), {"keys": [*unserved]})


@cache
def _query(dialect: Dialect) -> sa.Select[bytes, bytes, bytes]:
    return sa.select(table.c.key, table.c.fingerprint, table.c.outcome).where(dialect.in_parameter(table.c.key, "keys"))


@cache
def _deletion(dialect: Dialect) -> sa.Delete:
    return sa.delete(table).where(dialect.in_parameter(table.c.key, "keys"))


async def measure(database: Database) -> tuple[float, float]:
    """Return the approximate number of rows, and the age of the oldest row in seconds."""
    async with database.connect() as connection:
        remembered = await connection.scalar(database.dialect.inbox_estimate)
        oldest = await connection.scalar(sa.select(sa.func.min(table.c.received_at)))
    return max(remembered or 0.0, 0.0), (now() - oldest).total_seconds() if oldest else 0.0


async def purge(session: AsyncSession, before: datetime, limit: int) -> int:
    """Delete at most ``limit`` requests that were received before that time, and return their number."""
    old = sa.select(table.c.key).where(table.c.received_at < before).limit(limit).with_for_update(skip_locked=True)
    connection = await session.connection()
    keys = (await connection.scalars(old)).all()
    await connection.execute(_deletion(identity_map.of(session).dialect), {"keys": keys})
    return len(keys)
