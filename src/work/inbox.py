"""What was served, and its outcome.

A row is written once, in the transaction of the change it stands for and as its last statement: a request whose row is
there has been applied, and one whose row is not there has not.
"""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgpack
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base
from src.clock import now
from src.work.requests import Decodable, Event, Outcome, Request, State

COMPRESS_FROM = 1024  # bytes
_ZLIB = 0x78  # the first byte of a zlib stream, and of no msgpack array of less than 16

table = sa.Table(
    "inbox",
    Base.metadata,
    sa.Column("key", sa.LargeBinary(32), primary_key=True, comment="sha256 of sender, NUL, message_id"),
    sa.Column("fingerprint", sa.LargeBinary(32), nullable=False, comment="sha256 of operation, content type, body"),
    sa.Column("outcome", sa.LargeBinary, nullable=False, comment="msgpack, zlib from 1 KiB"),
    sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, index=True),
)


class ServedElsewhere(Exception):
    """Another consumer has served one of these requests in the meantime; nothing of this batch may stay."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One served request. Its outcome answers a request of the same ``fingerprint``, and no other."""

    fingerprint: bytes
    outcome: Outcome


class Memory:
    """What is known of a batch's requests: those ``found`` in the table, and those that the batch itself has served."""

    def __init__(self, found: Mapping[bytes, Entry], served: Mapping[bytes, Entry] | None = None) -> None:
        self._found = found
        self.served = dict(served or {})

    def recall(self, request: Request[Decodable]) -> Entry | None:
        """What was served before under the request's key."""
        if request.key is None:
            return None
        return self._found.get(request.key) or self.served.get(request.key)

    def note(self, request: Request[Decodable], outcome: Outcome) -> None:
        """Of each key the first final outcome counts."""
        if request.key and outcome.final and request.key not in self._found:
            self.served.setdefault(request.key, Entry(request.fingerprint, outcome))

    def copy(self) -> "Memory":
        """One that can be thrown away, with what was noted in it."""
        return Memory(self._found, self.served)


async def look_up(session: AsyncSession, keys: Collection[bytes]) -> dict[bytes, Entry]:
    """Those of the keys that were served before."""
    if not keys:
        return {}
    columns = (table.c.key, table.c.fingerprint, table.c.outcome)
    wanted = sa.any_(sa.literal(list(keys), sa.ARRAY(sa.LargeBinary)))
    found = await (await session.connection()).execute(sa.select(*columns).where(table.c.key == wanted))
    return {key: Entry(fingerprint, decode(outcome)) for key, fingerprint, outcome in found}


async def record(session: AsyncSession, entries: Mapping[bytes, Entry]) -> None:
    """Write what was served, sorted by key (else two consumers deadlock). Raises ServedElsewhere."""
    if not entries:
        return
    moment = now()
    rows = [
        {"key": key, "fingerprint": entry.fingerprint, "outcome": encode(entry.outcome), "received_at": moment}
        for key, entry in sorted(entries.items())
    ]
    statement = insert(table).on_conflict_do_nothing().returning(table.c.key)
    written = await (await session.connection()).execute(statement, rows)
    if len(written.all()) < len(rows):
        raise ServedElsewhere


async def purge(session: AsyncSession, before: datetime, limit: int) -> int:
    """Forget at the most ``limit`` requests received before that time; how many they were."""
    old = sa.select(table.c.key).where(table.c.received_at < before).limit(limit).with_for_update(skip_locked=True)
    deleted = await (await session.connection()).execute(sa.delete(table).where(table.c.key.in_(old)))
    return deleted.rowcount


def encode(outcome: Outcome) -> bytes:
    """An outcome for the table. An event that equals the answer is not stored twice."""
    events = [
        (event.name, event.subject, event.version, event.time, None if event.body == outcome.body else event.body)
        for event in outcome.events
    ]
    packed: bytes = msgpack.packb((outcome.state.value, outcome.type, outcome.content_type, outcome.body, events))
    return zlib.compress(packed) if len(packed) >= COMPRESS_FROM else packed


def decode(stored: bytes) -> Outcome:
    """The outcome that ``encode`` was given, but for the error behind it."""
    packed = zlib.decompress(stored) if stored[0] == _ZLIB else stored
    state, kind, content_type, body, events = msgpack.unpackb(packed)
    return Outcome(
        state=State(state),
        type=kind,
        body=body,
        content_type=content_type,
        events=tuple(
            Event(name, subject, version, time, body if own is None else own)
            for name, subject, version, time, own in events
        ),
    )
