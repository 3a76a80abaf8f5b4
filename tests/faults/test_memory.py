"""What a process holds in memory is bounded by its settings, not by what strangers send and ask for."""

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aio_pika import DeliveryMode, Message

import config
from tests.support import harness, requester
from tests.support.harness import Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

type Record = Callable[[str, object], None]

MEBIBYTE = 1024 * 1024
MOST = 600  # MiB


def peak(process: Process) -> int:
    """MiB that have been resident at once."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def kept_small(process: Process, record_property: Record) -> None:
    found = peak(process)
    record_property("peak", found)
    assert found < MOST


async def rows(settings: config.Settings, count: int, size: int) -> list[str]:
    """The ids of so many sessions whose titles have so many bytes."""
    ids = [str(uuid.UUID(int=number + 1)) for number in range(count)]
    values = ", ".join(f"('{row_id}', repeat('x', {size}))" for row_id in ids)
    await harness.execute(settings.dsn, f"INSERT INTO sessions (id, title) VALUES {values}")
    return ids


ASKED: dict[str, tuple[int, int, list[tuple[str, int]]]] = {
    "six lists of a thousand rows of a megabyte": (1000, 1_000_000, [("list", 1000)] * 6),
    "two hundred lists that just fit": (4, 1_000_000, [("list", 4)] * 200),
    "two hundred rows that just fit": (200, 4_000_000, [("get", n) for n in range(200)]),
}


@pytest.mark.parametrize(("count", "size", "asked"), ASKED.values(), ids=ASKED)
async def test_reads_of_large_rows_take_bounded_memory(
    count: int,
    size: int,
    asked: Sequence[tuple[str, int]],
    shaky: config.Settings,
    record_property: Record,
) -> None:
    ids = await rows(shaky, count, size)
    async with Process(shaky) as process, requester.asking(shaky) as db:
        await process.says("reads: consuming")
        answers = [
            await db.publish(f"session.{what}", {"limit": number} if what == "list" else {"id": ids[number]})
            for what, number in asked
        ]
        finished = await requester.finished(answers)
        too_large = count > 4 and asked[0][0] == "list"
        assert {answer.problem for answer in finished} == {"result-too-large" if too_large else None}
        kept_small(process, record_property)


async def backlog(settings: config.Settings, bodies: Sequence[bytes]) -> None:
    """Publish session.create of these bodies while no service runs."""
    async with Process(settings) as process:
        await process.consuming()
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as raw:
        exchange = await raw.get_exchange(harness.names(settings).requests, ensure=False)
        for number, body in enumerate(bodies):
            message = Message(body, message_id=f"m-{number}", delivery_mode=DeliveryMode.PERSISTENT)
            await exchange.publish(message, "session.create")


async def stored(settings: config.Settings) -> int:
    return int((await harness.fetch(settings.dsn, "SELECT count(*) FROM sessions"))[0][0])


def session(value: str) -> bytes:
    return f'{{"metadata": {{"a": {value}}}}}'.encode()


ROOM = MEBIBYTE - 100
BODIES: dict[str, tuple[int, bytes, str]] = {
    "sixty that are refused": (60, session(json.dumps("x" * 20_000_000)), "dead letter"),
    "a window of texts": (400, session(json.dumps("x" * ROOM)), ""),
    "empty lists": (60, session(f"[{','.join(['[]'] * (ROOM // 3))}]"), ""),
    "empty objects": (60, session(f"[{','.join(['{}'] * (ROOM // 3))}]"), ""),
    "numbers": (60, session(f"[{','.join(['1.5'] * (ROOM // 4))}]"), ""),
}


@pytest.mark.parametrize(("count", "body", "said"), BODIES.values(), ids=BODIES)
async def test_large_bodies_take_bounded_memory(
    count: int, body: bytes, said: str, shaky: config.Settings, record_property: Record
) -> None:
    await backlog(shaky, [body] * count)
    queue = harness.names(shaky).partition(0)

    async def done() -> bool:
        return not await harness.depth(shaky, queue) and await stored(shaky) == count * (not said)

    async with Process(shaky) as process:
        if said:
            await process.says(said, times=count)
        await harness.eventually(done, "all are served", deadline=240)
        kept_small(process, record_property)
