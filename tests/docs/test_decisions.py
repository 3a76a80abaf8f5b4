"""docs/decisions/README.md is the index of all decision records."""

import re
from typing import NamedTuple

import pytest

from tests.support.pages import ROOT

FOLDER = ROOT / "docs/decisions"
RECORDS = sorted(path.name for path in FOLDER.glob("0*.md"))
SUPERSEDED = re.compile(r"^Superseded by \[(\d{4})\]", re.MULTILINE)


class Row(NamedTuple):
    number: str
    file: str
    title: str
    area: str
    status: str
    date: str


def _index() -> list[Row]:
    pattern = r"^\| \[(\d{4})\]\((\S+)\) \| (.+?) \| (.+?) \| (.+?) \| (\d{4}-\d\d-\d\d) \|$"
    return [Row(*found) for found in re.findall(pattern, (FOLDER / "README.md").read_text(), re.MULTILINE)]


def test_the_index_lists_every_record_in_order() -> None:
    assert [row.file for row in _index()] == RECORDS


def test_no_number_is_given_twice() -> None:
    numbers = [name[:4] for name in RECORDS]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("row", _index(), ids=lambda row: row.number)
def test_a_row_has_the_number_the_title_and_the_status_of_its_record(row: Row) -> None:
    text = (FOLDER / row.file).read_text()
    assert text.startswith(f"# {row.number}. {row.title}\n")
    assert row.file.startswith(row.number)
    superseded = SUPERSEDED.search(text)
    if superseded is None:
        assert row.status == "accepted"
    else:
        (file,) = [name for name in RECORDS if name.startswith(superseded[1])]
        assert row.status == f"superseded by [{superseded[1]}]({file})"
