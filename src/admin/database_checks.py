"""Checks of the database: version, rights, schema, number of connections, settings, clock."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from src.admin.findings import Finding, broken, ok, warning
from src.base import Base
from src.database import Database
from src.dialects.dialect import Issue, UnusableDatabase
from src.dialects.driver_errors import describe
from src.schema import FOREIGN, Revision

MAX_CLOCK_DIFFERENCE = 1.0  # seconds: NTP keeps clocks much closer than that
TIMEOUT = 20  # seconds: how long the checks of the database may take together
PROBE = 1  # connection of a replica beside those of its pool


async def check(database: Database, replicas: int, max_answer: int) -> list[Finding]:
    """Return the findings. ``replicas`` of the service run now; ``max_answer`` is in bytes."""
    dialect = database.dialect
    if flaw := dialect.missing_file(database.url):
        return [_finding(database.place, flaw)]
    try:
        async with asyncio.timeout(TIMEOUT), database.connect() as connection:
            await connection.run_sync(dialect.check_encoding)
            before = datetime.now(UTC)
            writable, time = (await connection.execute(dialect.probe)).one()
            difference = (time - before - (datetime.now(UTC) - before) / 2).total_seconds()
            info = (await connection.execute(dialect.server_info)).one()
            return [
                *_check_server(
                    f"{database.place}, version {info.version}",
                    dialect.server_problems(info, max_answer),
                    writable=writable,
                ),
                *_check_durability(dialect.name, dialect.durability_problems(info)),
                *await _check_rights(connection, dialect.missing_privileges),
                *await _check_triggers(connection, dialect.triggers),
                await _check_schema(database),
                *_check_connections(info.connections, database.pool.limit + PROBE, replicas),
                _check_clock(difference),
            ]
    except UnusableDatabase as error:
        return [broken(f"{database.place}: {error}", "Create another database, and correct DATABASE_URL")]
    except Exception as error:  # any error means that the database cannot be checked
        return [broken(f"{database.place}: {describe(error)}", "Start it, or correct DATABASE_URL")]


def _check_server(what: str, flaws: Iterable[Issue], *, writable: bool) -> Iterator[Finding]:
    found = [*flaws] if writable else [Issue("is read-only", "Connect to one that takes writes"), *flaws]
    yield from (_finding(f"{what},", flaw) for flaw in found)
    if not found:
        yield ok(what)


def _check_durability(name: str, flaws: Iterable[Issue]) -> Iterator[Finding]:
    found = [*flaws]
    yield from (_finding(name, flaw) for flaw in found)
    if not found:
        yield ok("what is committed stays")


def _finding(about: str, flaw: Issue) -> Finding:
    return (broken if flaw.serious else warning)(f"{about} {flaw.what}", flaw.remedy)


async def _check_rights(connection: AsyncConnection, lacking: sa.TextClause | None) -> list[Finding]:
    if lacking is None:
        return []
    missing = (await connection.execute(lacking, {"names": [*Base.metadata.tables]})).all()
    if missing:
        said = ", ".join(f"{right} on {name}" for right, name in missing[:5])
        return [broken(f"the database's user lacks {len(missing)} rights: {said}", "Grant them, or make it the owner")]
    return [ok("the database's user may read and write every table")]


async def _check_triggers(connection: AsyncConnection, triggers: sa.TextClause) -> list[Finding]:
    """Answers and events tell what the service has written, which is untrue where the database changes it."""
    found = (await connection.execute(triggers, {"names": [*Base.metadata.tables]})).all()
    if not found:
        return []
    names = ", ".join(f"{name} on {table}" for name, table in found[:5])
    return [
        warning(
            f"{len(found)} trigger(s), rule(s) or row security on the service's tables: {names}",
            "Remove those that change, drop or hide rows: answers and events do not know of it",
        )
    ]


async def _check_schema(database: Database) -> Finding:
    match await database.revision():
        case Revision.BEHIND:
            return broken("the database's schema is behind this version", "Migrate it: ./db migrate")
        case Revision.AHEAD:
            return warning("the database's schema is ahead of this version", "Run the version that it is made for")
        case Revision.FOREIGN:
            return broken(FOREIGN, "Correct DATABASE_URL")
        case Revision.CURRENT:
            return ok("the database's schema is that of this version")


def _check_connections(allowed: int | None, each: int, replicas: int) -> Iterator[Finding]:
    """Compare the limit with what the replicas need, and one more that starts while another one ends."""
    if allowed is None:
        return
    needed = (max(replicas, 1) + 1) * each
    what = f"{max(replicas, 1)} replica(s) and one that takes over need {needed} connections of the {allowed} there are"
    if needed > allowed:
        yield warning(what, "Raise max_connections, or lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW")
    else:
        yield ok(what)


def _check_clock(difference: float) -> Finding:
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        return warning(
            f"the clocks of this machine and of the database differ by {abs(difference):.1f} s",
            "Keep both by NTP: the service goes by that of the database, and requesters by theirs",
        )
    return ok("the clocks of this machine and of the database agree")
