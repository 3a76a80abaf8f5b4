"""Every time constant has a unit and a reason, and docs/architecture.md lists all of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import timeouts
from tests.support.pages import ROOT

SOURCES = timeouts.sources()
NAMES_OF_TIMES = ("TIMEOUT", "INTERVAL", "DELAY", "DEADLINE", "PERIOD", "PAUSE")
WAITS = {"sleep": 0, "timeout": 0, "wait_for": 1}
"""Functions that wait, and which argument is the time."""


def test_the_page_lists_every_time_constant() -> None:
    assert timeouts.PAGE.read_text() == timeouts.page(), "run `make reference`"


def test_there_are_time_constants() -> None:
    assert sum(1 for path in SOURCES for _ in timeouts.found(path)) >= 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_time_has_a_name_a_unit_and_a_reason(path: Path) -> None:
    assert [*_without_a_unit(path), *_literals(path)] == []


def _without_a_unit(path: Path) -> Iterator[str]:
    """Numbers whose name or comment says that they are times, but that are not in the table."""
    listed = {each.name for each in timeouts.found(path)}
    comments = timeouts.comments(path)
    for name, _, line in timeouts.numbers(ast.parse(path.read_text())):
        is_time = any(word in name for word in NAMES_OF_TIMES) or "second" in comments.get(line, "")
        if is_time and name not in listed and "bytes" not in comments.get(line, ""):
            yield f"{name} = …  # needs `seconds: reason`"


def _literals(path: Path) -> Iterator[str]:
    """Times that are written as numbers where they are used. 0 is no wait."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        times = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
        if name in WAITS and len(node.args) > WAITS[name]:
            times.append(node.args[WAITS[name]])
        for time in times:
            if isinstance(time, ast.Constant) and isinstance(time.value, int | float) and time.value:
                yield f"line {node.lineno}: {ast.unparse(node)}"
