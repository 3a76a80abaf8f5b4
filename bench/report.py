"""The results as a table and as JSON, with the machine that they hold for."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import aiormq
import asyncpg
from rich.table import Table

from bench.programs import PROGRAMS, Servers
from bench.rounds import Result

PACKAGES = ("aio-pika", "aiormq", "asyncpg", "faststream", "pydantic", "sqlalchemy", "uvloop")
COMPARED = {"tutorial": "× tutorial", "faststream_echo": "× echo", "node": "× node"}


def table(results: Mapping[str, Result]) -> Table:
    """A line a program; a comparison is in messages a second, and in CPU a message behind the slash."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column("program", no_wrap=True)
    for title in ("messages/s", "CPU µs", *COMPARED.values()):
        drawn.add_column(title, justify="right", no_wrap=True)
    for name, result in results.items():
        ratios = () if _is_scale(name) else (_ratio(result, results.get(other)) for other in COMPARED)
        drawn.add_row(name, f"{result.per_second:,.0f}", f"{result.cpu_us:,.0f}", *ratios)
    return drawn


def _is_scale(name: str) -> bool:
    """Rows without messages: to be seen beside the others, not to be compared with them."""
    return name.startswith("asyncpg_")


def _ratio(result: Result, other: Result | None) -> str:
    if other is None:
        return "-"
    return f"{_short(result.per_second / other.per_second)} / {_short(other.cpu_us / result.cpu_us)}"


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"  # noqa: PLR2004 - as many digits as the noise leaves


def document(
    results: Mapping[str, Result], machine: Mapping[str, Any], settings: Mapping[str, int], messages: int
) -> dict[str, Any]:
    """By program: medians, and every round. A program that could not be run is null."""
    taken = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "messages": messages}
    known: dict[str, Result | None] = {program.name: None for program in PROGRAMS} | dict(results)
    return {
        "run": taken | {"service": dict(settings)},
        "machine": dict(machine),
        **{name: result and _entry(result) for name, result in known.items()},
    }


def _entry(result: Result) -> dict[str, Any]:
    return {
        "per_second": round(result.per_second, 1),
        "cpu_us": round(result.cpu_us, 1),
        "rounds": [asdict(measure) for measure in result.rounds],
    }


async def machine(servers: Servers) -> dict[str, Any]:
    """What the figures depend on."""
    amqp, rows = await aiormq.connect(servers.rabbitmq_url), await asyncpg.connect(servers.database_url)
    try:
        postgresql, rabbitmq = await rows.fetchval("SHOW server_version"), amqp.server_properties["version"]
    finally:
        await rows.close()
        await amqp.close()
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "node": _node_version(),
        "postgresql": postgresql,
        "rabbitmq": rabbitmq.decode() if isinstance(rabbitmq, bytes) else rabbitmq,
        **{package: metadata.version(package) for package in PACKAGES},
    }


def _node_version() -> str | None:
    try:
        asked = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.strip().removeprefix("v")
