"""What was found, as tables with what was aimed at, and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from bench.long import growth, latency, standing
from bench.long.growth import Growth
from bench.long.latency import Latency
from bench.long.partitions import Served
from bench.long.standing import Busy, Idle
from bench.report import columns, short, verdict


@dataclass
class Found:
    """What was measured; the rest was left out."""

    latency: Latency | None = None
    idle: Idle | None = None
    busy: Busy | None = None
    growth: list[Growth] = field(default_factory=list)
    partitions: list[Served] = field(default_factory=list)


def tables(found: Found) -> Iterator[Table]:
    """A table for each part that was measured."""
    if aims := list(_aims(found)):
        drawn = columns("what is measured", "aim", "measured", "reached")
        for about, aim, measured, reached in aims:
            drawn.add_row(about, aim, measured, verdict(reached=reached))
        yield drawn
    if found.growth:
        yield _growth(found.growth)
    if found.partitions:
        yield _partitions(found.partitions)


def _aims(found: Found) -> Iterator[tuple[str, str, str, bool]]:
    if waited := found.latency:
        about = f"a write's reply at {waited.share:.0%} load ({waited.per_second:,.0f}/s): p99 of p50"
        measured = f"{short(waited.spread)} ({waited.p99_ms:.1f} of {waited.p50_ms:.1f} ms)"
        yield about, f"≤ {latency.AIM}", measured, waited.spread <= latency.AIM
    if idle := found.idle:
        yield "CPU while idle, of a core", f"< {standing.AIM_CPU:.0%}", f"{idle.cpu:.2%}", idle.cpu < standing.AIM_CPU
        memory = f"{idle.memory:.0f} MB"
        yield "memory while idle", f"< {standing.AIM_MEMORY} MB", memory, idle.memory < standing.AIM_MEMORY
    if busy := found.busy:
        about, grown = f"memory while {busy.queued:,} requests are queued", busy.most / busy.early
        measured = f"{busy.most:.0f} MB at the most, {busy.early:.0f} early"
        yield about, f"≤ {standing.AIM_GROWTH} of early", measured, grown <= standing.AIM_GROWTH


def _growth(found: Sequence[Growth]) -> Table:
    sizes = found[0].sizes
    drawn = columns("CPU µs a message", *(f"{size:,} rows" for size in sizes), f"≤ {growth.AIM}")
    for each in found:
        cells = [
            f"{result.cpu_us:,.0f} ({short(ratio)})" for result, ratio in zip(each.results, each.ratios, strict=True)
        ]
        drawn.add_row(each.kind, *cells, verdict(reached=max(each.ratios) <= growth.AIM))
    return drawn


def _partitions(found: Sequence[Served]) -> Table:
    titles = ("messages/s", "service CPU µs", "broker CPU µs", "database CPU µs", "cores busy")
    drawn = columns("partitions, each with a process", *titles)
    for each in found:
        figures = (each.per_second, each.service_us, each.broker_us, each.database_us)
        drawn.add_row(str(each.partitions), *(f"{figure:,.0f}" for figure in figures), f"{each.cores:.2f}")
    return drawn


def document(found: Found, machine: dict[str, Any]) -> dict[str, Any]:
    """Medians and rounds, as JSON has them."""
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, **asdict(found)}
