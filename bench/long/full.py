"""A database that is full before anything is measured: its rows are made on the server."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

import asyncpg

from bench import environment
from bench.program import Servers
from bench.requests import SESSIONS, Workload
from dev import database

_QUERIES = """
    INSERT INTO queries (id, session_id, text, created_at, updated_at)
    SELECT gen_random_uuid(), ($2::uuid[])[1 + number % cardinality($2)], 'When did train ' || number || ' leave?',
           now() - interval '1 day' + number * interval '1 ms', now() - interval '1 day'
    FROM generate_series(1, $1::bigint) number
"""
_INBOX = """
    INSERT INTO inbox (key, fingerprint, outcome, received_at)
    SELECT sha256(int8send(number)), sha256(int8send(-number)), decode(repeat('5a', 400), 'hex'),
           now() - interval '1 day' + number * interval '1 ms'
    FROM generate_series(1, $1::bigint) number
"""
_DRAWN = "SELECT id FROM queries WHERE created_at < $2 ORDER BY md5(id::text) LIMIT $1"
_ADDED = {"queries": ("queries", "created_at"), "inbox": ("inbox", "received_at")}


class Full:
    """Tables that keep what was there when they were first used, and lose what a measurement has added."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._since: datetime | None = None

    async def reset(self, workload: Workload) -> None:
        """The same for every workload."""
        if workload.seeded:
            raise ValueError("these tables are full already")
        if self._since is None:
            self._since = await self._connection.fetchval("SELECT now()")
            return
        for table, moment in _ADDED.values():
            await self._connection.execute(f"DELETE FROM {table} WHERE {moment} >= $1", self._since)  # noqa: S608
            await self._connection.execute(f"VACUUM {table}")

    async def added(self, table: str) -> int:
        name, moment = _ADDED[table]
        count = f"SELECT count(*) FROM {name} WHERE {moment} >= $1"  # noqa: S608 - names of ours
        return int(await self._connection.fetchval(count, self._since))


@contextmanager
def made(servers: Servers, sizes: Iterable[int]) -> Iterator[dict[int, Servers]]:
    """A migrated database for each size, without rows as yet: `fill` makes them."""
    with ExitStack() as databases:
        urls = {size: databases.enter_context(database.fresh(servers.database_url, f"bench_{size}")) for size in sizes}
        for url in urls.values():
            environment.migrate(url)
        yield {size: Servers(servers.rabbitmq_url, url) for size, url in urls.items()}


async def fill(database_url: str, size: int) -> None:
    """Make so many queries and as many rows in the inbox; the sessions are there."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_QUERIES, size, SESSIONS)
        await connection.execute(_INBOX, size)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def drawn(database_url: str, number: int) -> list[uuid.UUID]:
    """So many of its queries, by chance."""
    connection = await asyncpg.connect(database_url)
    try:
        return [row["id"] for row in await connection.fetch(_DRAWN, number, datetime.now().astimezone())]
    finally:
        await connection.close()
