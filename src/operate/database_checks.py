"""PostgreSQL as the service needs it: its version, rights, schema, connections, settings, and its clock beside ours."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from src.base import Base
from src.database import Database, describe
from src.operate import revision
from src.operate.findings import Finding, broken, ok, warning

OLDEST = 14  # that is maintained
CLOCKS = 1.0  # seconds that they may differ by
PATIENCE = 20  # seconds that all of it may take
PROBE = 1  # the connection of a replica that is none of its pool's

DURABILITY = {
    "fsync": "a crash of the machine loses what was committed",
    "full_page_writes": "a crash of the machine may leave pages half written",
    "synchronous_commit": "a crash of the server loses what was committed",
}

_ASK = sa.text(
    """
    SELECT current_setting('server_version') AS version,
           current_setting('server_version_num')::int / 10000 AS major,
           current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
             - coalesce(current_setting('reserved_connections', true), '0')::int AS connections,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('transaction_read_only') AS read_only,
           clock_timestamp() AS clock
    """
)
_LACKS = sa.text(
    """
    SELECT right_, name FROM unnest(cast(:names AS text[])) AS name,
           unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_
    WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), right_)
    """
)


async def look(database: Database, replicas: int) -> list[Finding]:
    """The findings; ``replicas`` of the service run at the moment."""
    try:
        async with asyncio.timeout(PATIENCE), database.connect() as connection:
            before = datetime.now(UTC)
            answers = (await connection.execute(_ASK)).one()
            apart = (answers.clock - before - (datetime.now(UTC) - before) / 2).total_seconds()
            return [
                _version(answers, database.place),
                *_settings(answers),
                await _rights(connection),
                await _schema(database),
                _connections(answers.connections, database.pool.limit + PROBE, replicas),
                _clock(apart),
            ]
    except Exception as error:  # whoever raised it: there is nothing to be seen
        return [broken(f"PostgreSQL at {database.place}: {describe(error)}", "Start it, or correct DATABASE_URL")]


def _version(answers: Any, where: str) -> Finding:
    what = f"PostgreSQL {answers.version} at {where}"
    if answers.read_only == "on":
        return broken(f"{what} is read-only", "Connect to the primary")
    return ok(what) if answers.major >= OLDEST else warning(f"{what} is maintained no more", f"Run {OLDEST} or newer")


def _settings(answers: Any) -> Iterator[Finding]:
    unsafe = [(name, why) for name, why in DURABILITY.items() if getattr(answers, name) == "off"]
    yield from (broken(f"PostgreSQL has {name}=off: {why}", f"Set {name}=on") for name, why in unsafe)
    if not unsafe:
        yield ok("what is committed stays")


async def _rights(connection: AsyncConnection) -> Finding:
    lacks = (await connection.execute(_LACKS, {"names": [*Base.metadata.tables]})).all()
    if lacks:
        said = ", ".join(f"{right} on {name}" for right, name in lacks[:5])
        return broken(f"the database's user lacks {len(lacks)} rights: {said}", "Grant them, or make it the owner")
    return ok("the database's user may read and write every table")


async def _schema(database: Database) -> Finding:
    match await revision.compare(database):
        case revision.Revision.BEHIND:
            return broken("the database's schema is behind this version", "Migrate it: main.py migrate")
        case revision.Revision.AHEAD:
            return warning("the database's schema is ahead of this version", "Run the version that it is made for")
        case revision.Revision.CURRENT:
            return ok("the database's schema is that of this version")


def _connections(allowed: int, each: int, replicas: int) -> Finding:
    """A replica more than there are now: one that starts while another ends."""
    wanted = (max(replicas, 1) + 1) * each
    what = f"{max(replicas, 1)} replica(s) and one that takes over need {wanted} connections of the {allowed} there are"
    if wanted > allowed:
        return warning(what, "Raise max_connections, or lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW")
    return ok(what)


def _clock(apart: float) -> Finding:
    if abs(apart) > CLOCKS:
        return warning(
            f"the clocks of this machine and of the database differ by {abs(apart):.1f} s",
            "Keep both by NTP: the service goes by that of the database, and requesters by theirs",
        )
    return ok("the clocks of this machine and of the database agree")
