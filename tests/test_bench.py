"""The benchmark measures every program, and leaves nothing behind."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import aiormq
from aiormq.exceptions import ChannelNotFoundEntity

from bench.programs import PROGRAMS
from tests import harness


async def started(postgres_url: str, rabbitmq_url: str, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", *options),
        cwd=harness.ROOT,
        env=os.environ | {"DATABASE_URL": postgres_url, "RABBITMQ_URL": rabbitmq_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_every_program_is_measured_and_compared(postgres_url: str, rabbitmq_url: str, tmp_path: Path) -> None:
    output = tmp_path / "results/latest.json"
    options = ("--messages", "200", "--rounds", "1", "--output", str(output))
    process = await started(postgres_url, rabbitmq_url, *options)
    async with asyncio.timeout(2 * harness.DEADLINE):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    results = json.loads(output.read_text())
    names = {program.name for program in PROGRAMS}
    assert results.keys() == names | {"machine", "run"}
    assert results["machine"]["python"]
    skipped = {"node"} if "node: skipped" in err.decode() else set()
    assert not skipped or not shutil.which("node") or "npm ci failed" in err.decode()
    for name in names - skipped:
        assert results[name]["per_second"] > 0
        assert results[name]["cpu_us"] > 0
        assert name in out.decode()
    assert [results[name] for name in skipped] == [None] * len(skipped)


async def test_what_is_stopped_while_it_loads_leaves_nothing(postgres_url: str, rabbitmq_url: str) -> None:
    await _stop(postgres_url, rabbitmq_url, 100_000, lambda name: f"{name}.writes.0", signal.SIGINT)


async def test_what_is_stopped_while_it_measures_leaves_nothing(postgres_url: str, rabbitmq_url: str) -> None:
    await _stop(postgres_url, rabbitmq_url, 2000, lambda name: f"{name}.seen", signal.SIGTERM)


async def _stop(
    postgres_url: str, rabbitmq_url: str, messages: int, queue: Callable[[str], str], number: signal.Signals
) -> None:
    """Start it, wait for the first message in the queue, end it by the signal, which may come twice."""
    process = await started(postgres_url, rabbitmq_url, "--messages", str(messages), "--only", "service")
    name = await _said(process, r"database and queues: (bench_\w+)")
    first = queue(f"{name}_1")
    await harness.eventually(lambda: _depth(rabbitmq_url, first), "there is a message")
    process.send_signal(number)
    await _said(process, "(stopping)")
    process.send_signal(number)
    async with asyncio.timeout(harness.DEADLINE):
        _, err = await process.communicate()
    assert process.returncode == 128 + signal.SIGINT, err.decode()
    assert await _depth(rabbitmq_url, first) is None
    assert not await harness.fetch(postgres_url, "SELECT FROM pg_database WHERE datname = $1", name)


async def _said(process: asyncio.subprocess.Process, pattern: str) -> str:
    """The group of the pattern in the next line that has it."""
    assert process.stderr
    async with asyncio.timeout(harness.DEADLINE):
        async for line in process.stderr:
            if found := re.search(pattern, line.decode()):
                return found.group(1)
    raise AssertionError(f"it ended without saying {pattern}")


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
