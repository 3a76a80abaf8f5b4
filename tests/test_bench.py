"""The benchmark measures every program, and leaves nothing behind."""

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import aiormq
import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from bench.programs import PROGRAMS
from tests import forked, harness
from tests.started import Started


@pytest.fixture
def servers(postgres_url: str, rabbitmq_url: str) -> dict[str, str]:
    return {"DATABASE_URL": postgres_url, "RABBITMQ_URL": rabbitmq_url}


async def test_every_program_is_measured_and_compared(servers: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "results/latest.json"
    options = ("--messages", "200", "--rounds", "1", "--output", str(output))
    ended = await asyncio.to_thread(forked.run, "bench", *options, **servers)
    assert ended.code == 0, ended.err
    results = json.loads(output.read_text())
    names = {program.name for program in PROGRAMS}
    assert results.keys() == names | {"machine", "run"}
    assert results["machine"]["python"]
    skipped = {"node"} if "node: skipped" in ended.err else set()
    assert not skipped or not shutil.which("node") or "npm ci failed" in ended.err
    for name in names - skipped:
        assert results[name]["per_second"] > 0
        assert results[name]["cpu_us"] > 0
        assert name in ended.out
    assert [results[name] for name in skipped] == [None] * len(skipped)


async def test_what_is_stopped_while_it_loads_leaves_nothing(servers: dict[str, str]) -> None:
    await _stop(servers, 100_000, lambda name: f"{name}.writes.0", signal.SIGINT)


async def test_what_is_stopped_while_it_measures_leaves_nothing(servers: dict[str, str]) -> None:
    await _stop(servers, 2000, lambda name: f"{name}.seen", signal.SIGTERM)


async def _stop(servers: dict[str, str], messages: int, queue: Callable[[str], str], number: signal.Signals) -> None:
    """Start it, wait for the first message in the queue, end it by the signal, which may come twice."""
    program = "bench", "--messages", str(messages), "--only", "service"
    async with Started(program, os.environ | servers) as bench:
        (name,) = re.findall(r"bench_\w+", await bench.says("database and queues: "))
        first = queue(f"{name}_1")
        await harness.eventually(lambda: _depth(servers["RABBITMQ_URL"], first), "there is a message")
        bench.signal(number)
        await bench.says("stopping")
        bench.signal(number)
        assert await bench.wait() == 128 + signal.SIGINT, bench.log
    assert await _depth(servers["RABBITMQ_URL"], first) is None
    assert not await harness.fetch(servers["DATABASE_URL"], "SELECT FROM pg_database WHERE datname = $1", name)


async def _depth(url: str, queue: str) -> int | None:
    """How many messages it holds; None where there is no such queue."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        return (await channel.queue_declare(queue, passive=True)).message_count
    except ChannelNotFoundEntity:
        return None
    finally:
        await connection.close()
