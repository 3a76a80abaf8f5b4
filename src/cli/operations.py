"""What the service can be asked: ``operations``."""

import json
import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from src.cli.ending import NO_WAY, end

if TYPE_CHECKING:
    from src.contract.fields import Field
    from src.contract.reference import Description

_CHANGED = "where something changed: the answer"
_FAILED = "where it was refused for good: the problem"
_RETRYABLE = "retryable"

Name = Annotated[str, typer.Argument(help="The operation to show: <entity>.<operation>.", show_default=False)]


def operations(name: Name = "") -> None:
    """List the operations, or show all of one.

    One is shown with its request, its answer, its events and its problems. Needs no service, and no broker.
    docs/reference.md has all of them, and the fields of every entity.

    \b
    ./db operations
    ./db operations query.complete
    """
    from src import models
    from src.cli.output import print_line
    from src.contract import reference, suggestions

    known = reference.describe(models.entities())
    if name and name not in known:
        near = suggestions.operations(name, known)
        end(f"there is no operation {name!r}{f'; nearest to it are {", ".join(near)}' if near else ''}", NO_WAY)
    for line in _shown(known[name]) if name else _listed(list(known.values())):
        print_line(line)


def _listed(known: "list[Description]") -> Iterator[str]:
    width = max(len(each.key) for each in known)
    for each in known:
        yield f"{each.key:<{width}}  {each.kind:<5}  {each.title}"


def _shown(shown: "Description") -> Iterator[str]:
    yield f"{shown.key}, a {shown.kind}: {shown.title}"
    yield from _table("request", [(field.name, shown.absent(field), field.type) for field in _flat(shown.request)])
    yield from _table("answer", [(shown.answer,), *((field.name, field.type) for field in _flat(shown.answered))])
    if shown.event and shown.failed_event:
        yield from _table("events", [(shown.event, _CHANGED), (shown.failed_event, _FAILED)])
    yield from _table(
        "problems", [(each.name(), str(each.status), _RETRYABLE * each.retryable) for each in shown.problems]
    )
    yield from _table("example", [(f"./db call {shown.key} {shlex.quote(json.dumps(shown.example))}",)])


def _flat(given: "Iterable[Field]") -> "Iterator[Field]":
    for field in given:
        yield field
        yield from field.fields


def _table(title: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The rows under the title, each column as wide as its widest cell, a line of their own each."""
    yield ""
    yield title
    widths = [max(map(len, column)) for column in zip(*(row + ("",) * 3 for row in rows), strict=False)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
        yield f"  {'  '.join(cells)}".rstrip()
