"""What was served, and its outcome.

A row is written once, in the transaction of the change it stands for and as its last statement: a request whose row is
there has been applied, and one whose row is not there has not.
"""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import msgpack
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from src import schema
from src.clock import now
from src.database import Database
from src.dialects import Dialect
from src.persistence import identity_map
from src.processing.request import Event, Outcome, RejectedRequest, Request, State

COMPRESS_FROM = 1024  # bytes
FORMAT = 1
"""Of a stored outcome. What is added comes last and leaves it; a version that changes it reads both for a while."""

_STATES = {state.value for state in State}
_ZLIB = 0x78  # the first byte of a zlib stream, and of no msgpack array of less than 16

table = schema.inbox


class ConcurrentDuplicate(Exception):
    """Another consumer has served one of these requests in the meantime; nothing of this batch may stay."""


@dataclass(slots=True)
class Entry:
    """One served request. Its outcome answers a request of the same ``fingerprint``, and no other."""

    fingerprint: bytes
    outcome: Outcome


class SeenRequests:
    """What is known of a batch's requests: those ``found`` in the table, and those that the batch itself has served."""

    def __init__(self, found: Mapping[bytes, Entry], served: Mapping[bytes, Entry] | None = None) -> None:
        self._found = found
        self.served = dict(served or {})

    def get(self, request: Request[Any] | RejectedRequest) -> Entry | None:
        """What was served before under the request's key."""
        if request.key is None:
            return None
        return self._found.get(request.key) or self.served.get(request.key)

    def refuse(self, refusal: RejectedRequest) -> Outcome:
        """The stored outcome of the same request, else its refusal."""
        entry = self.get(refusal)
        return entry.outcome if entry and entry.fingerprint == refusal.fingerprint else refusal.outcome

    def remember(self, request: Request[Any], outcome: Outcome) -> None:
        """Of each key the first final outcome counts."""
        if request.key and outcome.final and request.key not in self._found:
            self.served.setdefault(request.key, Entry(request.fingerprint, outcome))

    def copy(self) -> "SeenRequests":
        """One that can be thrown away, with what was noted in it."""
        return SeenRequests(self._found, self.served)


async def look_up(session: AsyncSession, keys: Collection[bytes]) -> dict[bytes, Entry]:
    """Those of the keys that were served before."""
    if not keys:
        return {}
    found = await (await session.connection()).execute(
        _looking_up(identity_map.of(session).dialect), {"keys": list(keys)}
    )
    return {key: Entry(fingerprint, decode(outcome)) for key, fingerprint, outcome in found}


async def record(session: AsyncSession, entries: Mapping[bytes, Entry], unserved: Collection[bytes] = ()) -> None:
    """Write what was served, sorted by key (else two consumers deadlock). Raises ServedElsewhere.

    Keys whose outcome is not to be stored are written too, and deleted again: whoever may still be committing one of
    them is waited for.
    """
    keys = sorted([*entries, *unserved])
    if not keys:
        return
    connection, dialect = await session.connection(), identity_map.of(session).dialect
    arrays: dict[str, list[Any]] = {
        "key": keys,
        "fingerprint": [entries[key].fingerprint if key in entries else b"" for key in keys],
        "outcome": [encode(entries[key].outcome) if key in entries else b"" for key in keys],
        "received_at": [now()] * len(keys),
    }
    written = await connection.execute(*dialect.insert_statement(table, arrays, skip_existing=True))
    if written.rowcount < len(keys):
        raise ConcurrentDuplicate
    if unserved:
        await connection.execute(_deletion(dialect), {"keys": list(unserved)})


@cache
def _looking_up(dialect: Dialect) -> sa.Select[bytes, bytes, bytes]:
    return sa.select(table.c.key, table.c.fingerprint, table.c.outcome).where(dialect.in_parameter(table.c.key, "keys"))


@cache
def _deletion(dialect: Dialect) -> sa.Delete:
    return sa.delete(table).where(dialect.in_parameter(table.c.key, "keys"))


async def measure(database: Database) -> tuple[float, float]:
    """About how many requests are remembered, and the age of the oldest in seconds."""
    async with database.connect() as connection:
        remembered = await connection.scalar(database.dialect.inbox_estimate)
        oldest = await connection.scalar(sa.select(sa.func.min(table.c.received_at)))
    return max(remembered or 0.0, 0.0), (now() - oldest).total_seconds() if oldest else 0.0


async def purge(session: AsyncSession, before: datetime, limit: int) -> int:
    """Forget at the most ``limit`` requests received before that time; how many they were."""
    old = sa.select(table.c.key).where(table.c.received_at < before).limit(limit).with_for_update(skip_locked=True)
    connection = await session.connection()
    keys = (await connection.scalars(old)).all()
    await connection.execute(_deletion(identity_map.of(session).dialect), {"keys": keys})
    return len(keys)


def encode(outcome: Outcome) -> bytes:
    """An outcome for the table. An event that equals the answer is not stored twice."""
    events = [
        (event.name, event.subject, event.version, event.time, None if event.body == outcome.body else event.body)
        for event in outcome.events
    ]
    packed: bytes = msgpack.packb(
        (FORMAT, outcome.state.value, outcome.type, outcome.content_type, outcome.body, events)
    )
    return zlib.compress(packed) if len(packed) >= COMPRESS_FROM else packed


def decode(stored: bytes) -> Outcome:
    """The outcome that ``encode`` was given, but for the error behind it.

    Another version may have stored it, of those that run side by side during a restart: what it has added at the end of
    the outcome and of its events is no business of this one.
    """
    packed = zlib.decompress(stored) if stored[0] == _ZLIB else stored
    values = msgpack.unpackb(packed)
    if isinstance(values[1], str):  # the first ones have no number of their format
        values = (0, *values)
    _format, state, kind, content_type, body, events, *_ = values
    return Outcome(
        state=State(state) if state in _STATES else State.SERVED,
        type=kind,
        body=body,
        content_type=content_type,
        events=tuple(
            Event(name, subject, version, time, body if own is None else own)
            for name, subject, version, time, own, *_ in events
        ),
    )
