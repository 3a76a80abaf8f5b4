"""What one request has changed, known by comparing each row that it got with what the row was before."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pydantic_core
from sqlalchemy import inspect

from src.base import Base, Record, columns
from src.json_values import same
from src.persistence import relations

_OF_EVERY_CHANGE = frozenset(("version", "updated_at"))

type State = dict[str, Any]
"""What of a row a request can change: its columns, and which rows its collections hold."""


@dataclass(frozen=True, slots=True)
class Update:
    """A row that was there before the request, as it was, and the names of what changed."""

    row: Record
    before: State
    names: Collection[str]


class ChangeTracker:
    """Rows that the request has added, removed, and got, these as they were before."""

    def __init__(self) -> None:
        self._before: dict[Record, State] = {}
        self._added: dict[Record, None] = {}
        self._removed: dict[Record, State] = {}

    def get(self, row: Record) -> None:
        """What becomes of the row from here on is the request's doing."""
        if row not in self._before and row not in self._added:
            self._before[row] = state(row)

    def add(self, row: Record) -> None:
        self._added[row] = None

    def remove(self, row: Record) -> None:
        self._removed[row] = state(row)
        self._before.pop(row, None)

    def rows(self) -> Iterator[Record]:
        """Every row that the request has had in its hands."""
        yield from (*self._before, *self._added, *self._removed)

    def held(self, model: type[Base]) -> list[Record]:
        """The rows of this model that the request has in its hands, but for those that it has removed."""
        return [row for row in (*self._before, *self._added) if isinstance(row, model) and row not in self._removed]

    def reread(self, row: Record) -> None:
        """The row is as the database has it now, by the doing of a deletion and not of the request itself."""
        if row in self._before:
            self._before[row] = state(row)

    def lose(self, row: Record) -> None:
        """A deletion has taken the row along."""
        self._removed[row] = state(row)
        self._before.pop(row, None)
        self._added.pop(row, None)

    def include(self, row: Record) -> bool:
        """Whether the request has made, changed or removed this row."""
        return row in self._added or row in self._removed or any(update.row is row for update in self.updates())

    def updates(self) -> Iterator[Update]:
        """Each row that was there before and is not as it was."""
        for row, before in self._before.items():
            if names := _different(before, state(row)):
                yield Update(row, before, names)

    @property
    def added(self) -> Collection[Record]:
        """The rows that the request has made."""
        return self._added.keys()

    def beside(self, row: object) -> list[Record]:
        """The other rows that the request has made or changed."""
        changed = (each for each, before in self._before.items() if each is not row and _different(before, state(each)))
        return [*changed, *(each for each in self._added if each is not row)]

    def grew(self, row: Record) -> bool:
        """The row is new, or says more than it did."""
        if row not in self._before:
            return row in self._added
        before, after = self._before[row], state(row)
        names = {*_different(before, after)} - _OF_EVERY_CHANGE
        return sum(_size(after[name]) - _size(before[name]) for name in names) > 0

    def earlier(self) -> dict[Record, State]:
        """What gives each row what it had before the request. Raises LookupError where something is gone for good."""
        if self._removed:
            raise LookupError
        return {update.row: _earlier(update) for update in self.updates()}

    def check_removed(self) -> None:
        """Raise where a row was changed after it was deleted: that is written nowhere, and must not look as if."""
        for row, before in self._removed.items():
            if names := _different(before, state(row)):
                raise RuntimeError(f"{type(row).__name__}: {', '.join(names)} was changed after the row was deleted")


def state(row: Record) -> State:
    """What of the row a request can change, as it is now."""
    values = {name: row.__dict__[name] for name in columns(type(row))}
    return values | {
        name: tuple(held.id for held in getattr(row, name)) for name, _ in relations.collections(type(row))
    }


def _earlier(update: Update) -> State:
    row, values = update.row, {name: update.before[name] for name in update.names}
    for name in values.keys() & {name for name, _ in relations.collections(type(row))}:
        known = {held.id: held for held in (*getattr(row, name), *inspect(row).attrs[name].history.deleted)}
        values[name] = [known[held_id] for held_id in values[name]]
    return values


def _size(value: object) -> int:
    return len(pydantic_core.to_json(value))


def _different(before: State, after: State) -> list[str]:
    return [name for name, value in before.items() if not same(after[name], value)]
