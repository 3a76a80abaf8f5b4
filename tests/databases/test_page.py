"""docs/databases.md: what it promises is held by a test that is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TABLE = (ROOT / "docs/databases.md").read_text().partition("## What each promises")[2].partition("## ")[0]
ROWS = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")][1:]


def held(cell: str) -> bool:
    """It names a test that is there, or says that it is no promise."""
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", cell)
    return (bool(named) or cell.startswith("–")) and all(
        re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / page).read_text(), re.MULTILINE) for page, test in named
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_cell_is_held_by_a_test(row: list[str]) -> None:
    _, *cells = row
    assert [held(cell) for cell in cells] == [True] * 3


@pytest.mark.parametrize("cell", ["yes", "`processing/test_order.py::test_nothing`", ""])
def test_a_cell_without_a_test_is_found(cell: str) -> None:
    assert not held(cell)
