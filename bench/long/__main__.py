"""The command line: `python -m bench.long`, or `make bench-all`."""

import asyncio
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import environment, interrupts, machine, stage
from bench.long import full, growth, latency, partitions, plot, report, standing
from bench.long.report import Found
from bench.processes import ROOT
from bench.program import Servers
from bench.report import markdown
from bench.scene import Failed
from bench.screen import err, out, progress
from dev import nodes, search

RESULTS = ROOT / "bench/results"
SECONDS, ROUNDS = 2.0, 3
ROWS = [10_000, 100_000, 1_000_000]
QUEUED = 500_000
IDLE_TIMES = 10  # as long as a program runs


class Part(StrEnum):
    """What can be measured apart."""

    LATENCY = "latency"
    STANDING = "standing"
    GROWTH = "growth"
    PARTITIONS = "partitions"


def main(
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each program runs in a round.")] = SECONDS,
    number: Annotated[int, typer.Option("--rounds", min=1, help="The median of them counts.")] = ROUNDS,
    only: Annotated[list[Part] | None, typer.Option(help="Leave the others out, and the results alone.")] = None,
    size: Annotated[list[int], typer.Option("--rows", help="In the tables; 10000000 takes a while.")] = ROWS,
    queued: Annotated[int, typer.Option(help="Requests that are queued while memory is watched.")] = QUEUED,
    output: Annotated[Path, typer.Option(help="The folder of results.")] = RESULTS,
) -> None:
    """Measure what takes its time: latency, standing costs, full tables, partitions."""
    interrupts.end()
    found, chosen = Found(), only or list(Part)
    try:
        with environment.found() as servers:
            parts: dict[Part, Callable[[], None]] = {
                Part.LATENCY: lambda: _latency(found, servers, seconds),
                Part.STANDING: lambda: _standing(found, servers, IDLE_TIMES * seconds, queued),
                Part.GROWTH: lambda: _growth(found, servers, seconds, number, sorted(size)),
                Part.PARTITIONS: lambda: _partitions(found, seconds),
            }
            failed = [part for part, measure in parts.items() if part in chosen and not _measured(part, measure)]
            described = interrupts.run(machine.described(servers))
        for table in report.tables(found):
            out.print(table, "")
        if not only:
            _write(output, found, described)
    except search.NoServerError as error:
        err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        err.print("stopped; what was made is gone again")
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(1)


def _measured(part: Part, measure: Callable[[], None]) -> bool:
    """Whether there was nothing wrong with it; half an hour of other parts is not lost to one."""
    try:
        measure()
    except Failed as error:
        err.print(f"{part}: failed: {error}", markup=False, soft_wrap=True)
        interrupts.end()
        return False
    return True


def _latency(found: Found, servers: Servers, seconds: float) -> None:
    async def measure() -> None:
        async with stage.opened(servers.rabbitmq_url, servers.database_url) as opened:
            found.latency = await latency.measure(opened, servers, seconds)

    with err.status("latency"):
        interrupts.run(measure())


def _standing(found: Found, servers: Servers, seconds: float, queued: int) -> None:
    async def measure() -> None:
        async with stage.opened(servers.rabbitmq_url, servers.database_url) as opened:
            found.idle = await standing.idle(opened, servers, seconds)
            found.busy = await standing.busy(opened, servers, seconds, queued)

    with err.status(f"idle, then with {queued:,} requests queued"):
        interrupts.run(measure())


def _growth(found: Found, servers: Servers, seconds: float, number: int, sizes: list[int]) -> None:
    steps = len(growth.KINDS) * len(sizes) * number
    with full.made(servers, sizes) as databases, progress(steps) as step:
        found.growth = interrupts.run(growth.measure(databases, seconds, number, step))


def _partitions(found: Found, seconds: float) -> None:
    try:
        with err.status("partitions"), partitions.started() as servers:
            found.partitions = interrupts.run(partitions.measure(servers, seconds))
    except nodes.StartError as error:
        err.print(f"partitions: skipped: {error}", markup=False, soft_wrap=True)


def _write(output: Path, found: Found, described: dict[str, Any]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "long.json").write_text(json.dumps(report.document(found, described), indent=2) + "\n")
    (output / "long.md").write_text(markdown("make bench-all", described, report.tables(found)))
    if found.growth:
        plot.draw(found.growth, output / "growth.svg")
    err.print(f"written to {output}")


if __name__ == "__main__":
    typer.run(main)
