"""The results as tables and as JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench import targets
from bench.programs import PROGRAMS
from bench.rounds import Result
from bench.targets import Ratio

COMPARED = ("tutorial", "node", "go")  # with those that store rows as the service does


def programs(results: Mapping[str, Result]) -> Table:
    """A line a program, and how many times another's messages a second it served."""
    drawn = columns("program", "messages/s", "CPU µs", "p50 ms", "p99 ms", *(f"× {other}" for other in COMPARED))
    for name, result in results.items():
        waits = [f"{waited:,.2f}" if waited else "" for waited in map(result.waits.get, ("p50_ms", "p99_ms"))]
        compared = [_times(result, results.get(other)) if _stores(name) else "" for other in COMPARED]
        drawn.add_row(name, f"{result.per_second:,.0f}", f"{result.cpu_us:,.0f}", *waits, *compared)
    return drawn


def ratios(results: Mapping[str, Result]) -> Table:
    """A line a target, with the ratio of each round behind the median that counts."""
    drawn = columns("what is measured", "beside", "target", "measured", "reached", "rounds")
    for ratio in targets.ratios(results):
        target = ratio.target
        figures = (short(ratio.median), verdict(reached=ratio.reached), "  ".join(map(short, ratio.rounds)))
        drawn.add_row(target.about, target.beside, target.bound(), *figures)
    return drawn


def columns(first: str, *others: str) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column(first, no_wrap=True)
    for title in others:
        drawn.add_column(title, justify="right", no_wrap=True)
    return drawn


def markdown(title: str, machine: Mapping[str, Any], tables: Iterable[Table]) -> str:
    """The tables as a page has them, under what they hold for."""
    said = Console(file=StringIO(), width=200, record=True)
    for table in tables:
        table.box, table.pad_edge, table.padding = box.MARKDOWN, True, (0, 1)
        said.print(table)
    known = ", ".join(f"{name} {version}" for name, version in machine.items() if version and name != "system")
    rows = (line.rstrip() for line in said.export_text().splitlines())
    return f"**{title}**, {datetime.now(UTC):%Y-%m-%d}, on: {known}.\n\n" + "\n".join(rows).strip() + "\n"


def verdict(*, reached: bool) -> str:
    return "[green]yes[/]" if reached else "[red]no[/]"


def _stores(name: str) -> bool:
    """Those that turn a message into a row, by their names."""
    return name.startswith(("service", "mixed", "tutorial", "node", "go"))


def _times(result: Result, other: Result | None) -> str:
    return short(result.per_second / other.per_second) if other else "-"


def short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"  # noqa: PLR2004 - as many digits as the noise leaves


def document(
    results: Mapping[str, Result], machine: Mapping[str, Any], settings: Mapping[str, int], seconds: float
) -> dict[str, Any]:
    """By program: medians, and every round. A program that could not be run is null."""
    taken = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "messages": sum(measure.messages for result in results.values() for measure in result.rounds),
    }
    known: dict[str, Result | None] = {program.name: None for program in PROGRAMS} | dict(results)
    reached = [_reached(ratio) for ratio in targets.ratios(results)]
    return {
        "run": taken | {"service": dict(settings), "ratios": reached},
        "machine": dict(machine),
        **{name: result and _entry(result) for name, result in known.items()},
    }


def _entry(result: Result) -> dict[str, Any]:
    return {
        "per_second": round(result.per_second, 1),
        "cpu_us": round(result.cpu_us, 1),
        **{name: round(waited, 3) for name, waited in result.waits.items()},
        "rounds": [asdict(measure) for measure in result.rounds],
    }


def _reached(ratio: Ratio) -> dict[str, Any]:
    rounds = [round(each, 3) for each in ratio.rounds]
    return asdict(ratio.target) | {"ratio": round(ratio.median, 3), "reached": ratio.reached, "rounds": rounds}
