"""The tables of one run: made as a workload needs them, and counted after it."""

import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from bench.requests import QUERIES, SESSIONS, Workload

_SESSIONS = "INSERT INTO sessions (id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING"  # there may be a stage before
_QUERIES = """
    INSERT INTO queries (id, session_id, text)
    SELECT id, ($2::uuid[])[1 + number % cardinality($2)], 'When does the first train leave? (' || number || ')'
    FROM unnest($1::uuid[]) WITH ORDINALITY AS drawn (id, number)
"""


class Rows(Protocol):
    """What a stage needs of the database."""

    async def reset(self, workload: Workload) -> None:
        """Make the tables what they are to be before the workload."""

    async def added(self, table: str) -> int:
        """How many rows are in the table, beside those that were there before anything was measured."""


class Emptied:
    """Tables that hold nothing but what a workload wants there."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def reset(self, workload: Workload) -> None:
        await self._connection.execute("TRUNCATE queries, inbox")
        if workload.seeded:
            await insert(self._connection, QUERIES)

    async def added(self, table: str) -> int:
        return int(await self._connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608 - a name of ours


async def insert(connection: Any, queries: Sequence[uuid.UUID]) -> None:
    """Pending queries, spread over the sessions."""
    await connection.execute(_QUERIES, queries, SESSIONS)


async def insert_sessions(connection: Any) -> None:
    await connection.execute(_SESSIONS, SESSIONS)
