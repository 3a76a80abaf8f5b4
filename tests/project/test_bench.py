"""The benchmark measures every program, and leaves nothing behind."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import aiormq
import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from bench import page, requests, targets
from bench.builds import BUILDS
from bench.long import growth
from bench.programs import PROGRAMS
from bench.rounds import Result
from bench.stopwatch import Measure
from bench.targets import TARGETS
from src import wire
from tests.support import forked, harness
from tests.support.started import Started


@pytest.fixture
def servers(postgres_url: str, rabbitmq_url: str) -> dict[str, str]:
    return {"DATABASE_URL": postgres_url, "RABBITMQ_URL": rabbitmq_url}


def measured(servers: dict[str, str], *options: str, module: str = "bench") -> tuple[str, str]:
    """What a short run prints."""
    short = ("--seconds", "0.1", "--rounds", "1")
    ended = forked.run(module, *short, *options, **servers)
    assert ended.code == 0, ended.err
    return ended.out, ended.err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_program_is_measured_and_compared(servers: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "results/latest.json"
    out, err = measured(servers, "--output", str(output))
    results = json.loads(output.read_text())
    names = {program.name for program in PROGRAMS}
    assert results.keys() == names | {"machine", "run"}
    assert results["machine"]["python"]
    skipped = {name for name in BUILDS if f"{name}: skipped" in err}
    for name in names - skipped:
        assert results[name]["per_second"] > 0
        assert results[name]["cpu_us"] > 0
        assert name in out
    assert [results[name] for name in skipped] == [None] * len(skipped)
    compared = {(ratio["of"], ratio["beside"]) for ratio in results["run"]["ratios"]}
    assert compared == {(each.of, each.beside) for each in TARGETS if each.beside not in skipped}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_takes_its_time_is_measured(servers: dict[str, str], tmp_path: Path) -> None:
    sizes = ("--rows", "1000", "--rows", "2000", "--queued", "2000")
    out, err = measured(servers, *sizes, "--output", str(tmp_path), module="bench.long")
    found = json.loads((tmp_path / "long.json").read_text())
    assert found["latency"]["p99_ms"] > 0
    assert found["idle"]["memory"] > 0
    assert found["busy"]["queued"] == 2000
    assert [kind["kind"] for kind in found["growth"]] == [*growth.KINDS]
    assert [each["partitions"] for each in found["partitions"]] == ([] if "partitions: skipped" in err else [1, 2, 4])
    assert (tmp_path / "growth.svg").read_text().startswith("<svg")
    assert "first pages" in out


def test_a_load_and_a_call_are_measured(servers: dict[str, str]) -> None:
    programs = ("mixed", "get_50")
    out, _ = measured(servers, *(f"--only={name}" for name in programs))
    assert [name for name in programs if f"\n{name} " not in out] == []


def test_a_program_that_counts_what_it_did_not_serve_is_found_out() -> None:
    assert requests.mixed(100).left_by(0) == (len(requests.QUERIES), 0)
    queries, keys = requests.duplicates(5000).left_by(requests.FIRST_TIMES + 3000)
    assert (queries, keys) == (requests.FIRST_TIMES, requests.FIRST_TIMES)


@pytest.mark.parametrize(("figure", "reached"), [(1100.0, True), (1000.0, False)])
def test_the_median_of_the_rounds_is_held_against_the_target(figure: float, reached: bool) -> None:  # noqa: FBT001
    ours = Result(tuple(Measure(int(times * figure), 1, 1) for times in (1, 1, 5)))
    theirs = Result((Measure(100, 1, 1),) * 3)
    (ratio,) = targets.ratios({"service": ours, "tutorial": theirs})
    assert (ratio.median, ratio.reached) == (figure / 100, reached)


@pytest.mark.slow
async def test_what_is_stopped_while_it_loads_leaves_nothing(servers: dict[str, str]) -> None:
    await _stop(servers, 100, lambda name: f"{name}.writes.0", signal.SIGINT)


def test_a_page_is_filled_between_its_marks() -> None:
    old = page.PAGE.read_text()
    new = page.filled(old, "| a | b |\n")
    assert "| a | b |\n<!-- figures: end -->" in new
    assert page.filled(new, "again\n") == page.filled(old, "again\n")


async def test_what_is_stopped_while_it_measures_leaves_nothing(servers: dict[str, str]) -> None:
    await _stop(servers, 0.5, lambda name: f"{name}.seen", signal.SIGTERM)


async def _stop(servers: dict[str, str], seconds: float, queue: Callable[[str], str], number: signal.Signals) -> None:
    """Start it, wait for the first message in the queue, end it by the signal, which may come twice."""
    program = "bench", "--seconds", str(seconds), "--only", "service"
    async with Started(program, os.environ | servers) as bench:
        (name,) = re.findall(r"bench_\w+", await bench.says("database and queues: "))
        first = queue(f"{name}_1")
        await harness.eventually(lambda: _depth(servers["RABBITMQ_URL"], first), "there is a message")
        bench.signal(number)
        await bench.says("stopping")
        bench.signal(number)
        assert await bench.wait() == 128 + signal.SIGINT, bench.log
    for left in (first, *wire.Names(f"{name}_1").queues(1)):
        assert await _depth(servers["RABBITMQ_URL"], left) is None
    known = "SELECT 1 FROM pg_database WHERE datname = :name"
    assert not await harness.fetch(servers["DATABASE_URL"], known, name=name)


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
