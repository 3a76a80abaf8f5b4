"""How fast rows alone can be: batches by asyncpg, no messages, no ORM. Say which way: unnest, executemany or copy."""

import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import uvloop

from bench.stopwatch import Job, Stopwatch

BATCH = 100
COLUMNS = ("id", "session_id", "text", "metadata")

type Row = tuple[uuid.UUID, uuid.UUID, str, str]
type Insert = Callable[[Any, list[Row]], Awaitable[object]]


async def unnest(connection: Any, rows: list[Row]) -> object:
    arrays = "$1::uuid[], $2::uuid[], $3::text[], $4::jsonb[]"
    return await connection.execute(
        f"INSERT INTO queries ({', '.join(COLUMNS)}) SELECT * FROM unnest({arrays})",  # noqa: S608 - names of ours
        *zip(*rows, strict=True),
    )


async def executemany(connection: Any, rows: list[Row]) -> object:
    return await connection.executemany(
        f"INSERT INTO queries ({', '.join(COLUMNS)}) VALUES ($1, $2, $3, $4)",  # noqa: S608 - names of ours
        rows,
    )


async def copy(connection: Any, rows: list[Row]) -> object:
    return await connection.copy_records_to_table("queries", records=rows, columns=COLUMNS)


WAYS: dict[str, Insert] = {"unnest": unnest, "executemany": executemany, "copy": copy}


async def fill(job: Job, watch: Stopwatch, insert: Insert) -> None:
    connection = await asyncpg.connect(job.database_url)
    sessions = [row["id"] for row in await connection.fetch("SELECT id FROM sessions")]
    rows = [
        (uuid.uuid4(), sessions[number % len(sessions)], f"a row, and it is number {number}", json.dumps({"k": number}))
        for number in range(job.messages)
    ]
    for begin in range(0, len(rows), BATCH):
        watch.start()
        batch = rows[begin : begin + BATCH]
        await insert(connection, batch)
        if watch.settle(len(batch)):
            break
    await connection.close()


def main() -> None:
    job = Job.read()
    watch = Stopwatch(job)
    uvloop.run(fill(job, watch, WAYS[sys.argv[1]]))
    watch.report()


if __name__ == "__main__":
    main()
