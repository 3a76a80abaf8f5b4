"""What one request has changed: each row that the request got is compared with its values from before."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import inspect

from src import json_values
from src.base import Base, Record, columns
from src.persistence import relations

_OF_EVERY_CHANGE = frozenset(("version", "updated_at"))

type State = dict[str, Any]
"""What a request can change of a row: its columns, and the ids of the rows in its collections."""


@dataclass(frozen=True, slots=True)
class Update:
    """A changed row with its values from before the request, and the names of the changed attributes."""

    row: Record
    before: State
    names: Collection[str]


@dataclass(eq=False, slots=True)
class ChangeTracker:
    """The rows that a request has added, removed, and got, with the values of these from before."""

    _before: dict[Record, State] = field(default_factory=dict)
    _added: dict[Record, None] = field(default_factory=dict)
    _removed: dict[Record, State] = field(default_factory=dict)
    _updated: dict[Record, Update] = field(default_factory=dict)

    def track(self, row: Record) -> None:
        """Count changes of the row from now on as the request's."""
        if row not in self._before and row not in self._added:
            self._before[row] = state(row)

    def add(self, row: Record) -> None:
        """Note a row that the request has added."""
        self._added[row] = None

    def remove(self, row: Record) -> None:
        """Note a row that the request has removed."""
        self._removed[row] = state(row)
        self._before.pop(row, None)

    def rows(self) -> Iterator[Record]:
        """Yield every row that the request got, added or removed."""
        yield from (*self._before, *self._added, *self._removed)

    def held(self, model: type[Base]) -> list[Record]:
        """Return the rows of this model that the request got or added and has not removed."""
        return [row for row in (*self._before, *self._added) if isinstance(row, model) and row not in self._removed]

    def reloaded(self, row: Record) -> None:
        """Note that a deletion has changed the row in the database: that is no change of the request's own."""
        if row in self._before:
            self._before[row] = state(row)

    def deleted(self, row: Record) -> None:
        """Note that a cascade has deleted the row."""
        self._removed[row] = state(row)
        self._before.pop(row, None)
        self._added.pop(row, None)

    def settle(self) -> Collection[Update]:
        """Determine the updates, once the handler has returned. ``includes`` and ``others`` rely on the result.

        Raises RuntimeError for a row that was changed after its deletion: that change would be lost.
        """
        for row, before in self._removed.items():
            if names := _different(before, state(row)):
                raise RuntimeError(f"{type(row).__name__}: {', '.join(names)} was changed after the row was deleted")
        self._updated = {update.row: update for update in self._updates()}
        return self._updated.values()

    def includes(self, row: Record) -> bool:
        """Return whether the request has added, changed or removed this row."""
        return row in self._added or row in self._removed or row in self._updated

    def others(self, row: object) -> list[Record]:
        """Return the rows that the request has added or changed, without this one."""
        return [each for each in (*self._updated, *self._added) if each is not row]

    @property
    def added(self) -> Collection[Record]:
        """The rows that the request has added."""
        return self._added.keys()

    def grew(self, row: Record) -> bool:
        """Return whether the row is new, or its values take more bytes as JSON than before."""
        if row not in self._before:
            return row in self._added
        before, after = self._before[row], state(row)
        names = {*_different(before, after)} - _OF_EVERY_CHANGE
        return sum(json_values.size(after[name]) - json_values.size(before[name]) for name in names) > 0

    def original_values(self) -> dict[Record, State] | None:
        """Return the values that changed rows had before the request; None where the request has deleted rows."""
        if self._removed:
            return None
        return {update.row: _original(update) for update in self._updates()}

    def _updates(self) -> Iterator[Update]:
        for row, before in self._before.items():
            if names := _different(before, state(row)):
                yield Update(row, before, names)


def state(row: Record) -> State:
    """Return what a request can change of the row: its columns, and the ids of the rows in its collections."""
    values = {name: row.__dict__[name] for name in columns(type(row))}
    return values | {
        name: tuple(held.id for held in getattr(row, name)) for name, _ in relations.collections(type(row))
    }


def _original(update: Update) -> State:
    row, values = update.row, {name: update.before[name] for name in update.names}
    for name in values.keys() & {name for name, _ in relations.collections(type(row))}:
        known = {held.id: held for held in (*getattr(row, name), *inspect(row).attrs[name].history.deleted)}
        values[name] = [known[held_id] for held_id in values[name]]
    return values


def _different(before: State, after: State) -> list[str]:
    return [
        name for name, value in before.items() if after[name] is not value and not json_values.same(after[name], value)
    ]
