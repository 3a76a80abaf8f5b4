"""Where a profiled run spent its time: by package, then by function."""

import pstats
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from bench.processes import ROOT

TOP = 30
_PACKAGE = re.compile(r".*/site-packages/([^/]+)")
_BUILT_IN = "~"

type Function = tuple[str, int, str]


class Profile:
    """What cProfile dumped. Its own cost falls on every call, so it makes many small functions look dearer than few."""

    def __init__(self, dump: Path, messages: int) -> None:
        self._stats: dict[Function, Any] = pstats.Stats(str(dump)).stats  # type: ignore[attr-defined]
        self._messages = messages

    def by_package(self) -> Table:
        """A built-in counts for the package that calls it."""
        spent: Counter[str] = Counter()
        for function, seconds in self._shares():
            spent[_package(function)] += seconds  # type: ignore[assignment]  # seconds add up as numbers do
        total = sum(spent.values())
        drawn = _table("package", "µs/message", "share")
        for package, seconds in spent.most_common():
            if seconds > total / 200:
                drawn.add_row(package, f"{self._each(seconds):,.1f}", f"{seconds / total:.1%}")
        return drawn

    def by_function(self) -> Table:
        drawn = _table("function", "µs/message", "calls/message")
        dearest = sorted(self._stats.items(), key=lambda item: item[1][2], reverse=True)
        for function, (_, calls, seconds, _, _) in dearest[:TOP]:
            drawn.add_row(_title(function), f"{self._each(seconds):,.1f}", f"{calls / self._messages:,.2f}")
        return drawn

    def _shares(self) -> Iterator[tuple[Function, float]]:
        for function, (_, _, own, _, callers) in self._stats.items():
            if function[0] == _BUILT_IN and callers:
                yield from ((caller, share[2]) for caller, share in callers.items())
            else:
                yield function, own

    def _each(self, seconds: float) -> float:
        return seconds / self._messages * 1e6


def _package(function: Function) -> str:
    file = function[0]
    if installed := _PACKAGE.match(file):
        return installed.group(1)
    if Path(file).is_relative_to(ROOT):
        return "this service"
    return "built-in" if file == _BUILT_IN else f"python: {_module(file)}"


def _module(file: str) -> str:
    path = Path(file)
    return path.stem if re.fullmatch(r"python[\d.]+", path.parent.name) else path.parent.name


def _title(function: Function) -> str:
    file, line, name = function
    if file == _BUILT_IN:
        return name
    path = Path(file)
    return f"{path.parent.name}/{path.name}:{line} {name}"


def _table(first: str, *others: str) -> Table:
    drawn = Table(box=box.SIMPLE, pad_edge=False)
    drawn.add_column(first, overflow="fold")
    for title in others:
        drawn.add_column(title, justify="right", no_wrap=True)
    return drawn
