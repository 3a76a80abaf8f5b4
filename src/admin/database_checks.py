"""The database as the service needs it: version, rights, schema, connections and settings, its clock beside ours."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from src.admin.findings import Finding, broken, ok, warning
from src.base import Base
from src.database import Database, describe
from src.dialects.dialect import Flaw
from src.revision import Revision

CLOCKS = 1.0  # seconds that they may differ by
PATIENCE = 20  # seconds that all of it may take
PROBE = 1  # the connection of a replica that is none of its pool's


async def look(database: Database, replicas: int, max_answer: int) -> list[Finding]:
    """The findings; ``replicas`` of the service run at the moment, ``max_answer`` is in bytes."""
    dialect = database.dialect
    if flaw := dialect.absent(database.url):
        return [_finding(database.place, flaw)]
    try:
        async with asyncio.timeout(PATIENCE), database.connect() as connection:
            before = datetime.now(UTC)
            writable, time = (await connection.execute(dialect.probe)).one()
            apart = (time - before - (datetime.now(UTC) - before) / 2).total_seconds()
            facts = (await connection.execute(dialect.facts)).one()
            return [
                *_server(
                    f"{database.place}, version {facts.version}", dialect.unfit(facts, max_answer), writable=writable
                ),
                *_safety(dialect.name, dialect.unsafe(facts)),
                *await _rights(connection, dialect.lacking),
                await _schema(database),
                *_connections(facts.connections, database.pool.limit + PROBE, replicas),
                _clock(apart),
            ]
    except Exception as error:  # whoever raised it: there is nothing to be seen
        return [broken(f"{database.place}: {describe(error)}", "Start it, or correct DATABASE_URL")]


def _server(what: str, flaws: Iterable[Flaw], *, writable: bool) -> Iterator[Finding]:
    found = [*flaws] if writable else [Flaw("is read-only", "Connect to one that takes writes"), *flaws]
    yield from (_finding(f"{what},", flaw) for flaw in found)
    if not found:
        yield ok(what)


def _safety(name: str, flaws: Iterable[Flaw]) -> Iterator[Finding]:
    found = [*flaws]
    yield from (_finding(name, flaw) for flaw in found)
    if not found:
        yield ok("what is committed stays")


def _finding(about: str, flaw: Flaw) -> Finding:
    return (broken if flaw.grave else warning)(f"{about} {flaw.what}", flaw.remedy)


async def _rights(connection: AsyncConnection, lacking: sa.TextClause | None) -> list[Finding]:
    if lacking is None:
        return []
    lacks = (await connection.execute(lacking, {"names": [*Base.metadata.tables]})).all()
    if lacks:
        said = ", ".join(f"{right} on {name}" for right, name in lacks[:5])
        return [broken(f"the database's user lacks {len(lacks)} rights: {said}", "Grant them, or make it the owner")]
    return [ok("the database's user may read and write every table")]


async def _schema(database: Database) -> Finding:
    match await database.revision():
        case Revision.BEHIND:
            return broken("the database's schema is behind this version", "Migrate it: ./db migrate")
        case Revision.AHEAD:
            return warning("the database's schema is ahead of this version", "Run the version that it is made for")
        case Revision.CURRENT:
            return ok("the database's schema is that of this version")


def _connections(allowed: int | None, each: int, replicas: int) -> Iterator[Finding]:
    """A replica more than there are now: one that starts while another ends."""
    if allowed is None:
        return
    wanted = (max(replicas, 1) + 1) * each
    what = f"{max(replicas, 1)} replica(s) and one that takes over need {wanted} connections of the {allowed} there are"
    if wanted > allowed:
        yield warning(what, "Raise max_connections, or lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW")
    else:
        yield ok(what)


def _clock(apart: float) -> Finding:
    if abs(apart) > CLOCKS:
        return warning(
            f"the clocks of this machine and of the database differ by {abs(apart):.1f} s",
            "Keep both by NTP: the service goes by that of the database, and requesters by theirs",
        )
    return ok("the clocks of this machine and of the database agree")
