"""The rows of one batch: ``(model, id) → row or None``.

A hundred requests share a session, and each must find what those before it left, flushed or not. SQLAlchemy's identity
map cannot tell: it is weak, does not find pending rows, still finds deleted and cascaded ones, and asks again for those
that are not there. So the rows that a batch names are loaded ahead into a dictionary, and ``crud`` reads and writes it.
Whatever is not in it is asked of the database, which differs from it only in what is not yet flushed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from src import keys
from src.base import Base, Record, columns, same
from src.clock import now

type Unique = tuple[type[Base], tuple[str, ...], tuple[Any, ...]]


@dataclass
class Wanted:
    """What a batch names: rows to change, rows referred to, unique values."""

    rows: dict[type[Record], set[UUID]]
    parents: dict[type[Base], set[UUID]]
    uniques: dict[tuple[type[Record], tuple[str, ...]], set[tuple[Any, ...]]]

    def __init__(self) -> None:
        self.rows, self.parents, self.uniques = defaultdict(set), defaultdict(set), defaultdict(set)


class Changes:
    """What one request has done: rows that it has added, removed, and got, these as they were before."""

    def __init__(self) -> None:
        self._before: dict[Record, dict[str, Any]] = {}
        self._added: list[Record] = []
        self._removed: list[Record] = []

    def get(self, row: Record) -> None:
        """What becomes of the row from here on is the request's doing."""
        if row not in self._before and row not in self._added:
            self._before[row] = _state(row)

    def add(self, row: Record) -> None:
        self._added.append(row)

    def remove(self, row: Record) -> None:
        self._removed.append(row)
        self._before.pop(row, None)

    def forget(self, row: Record) -> None:
        """The database has changed or deleted it."""
        self._before.pop(row, None)

    @property
    def any(self) -> bool:
        """The request has changed something."""
        return bool(self._added or self._removed or any(map(self._changed, self._before)))

    def include(self, row: Record) -> bool:
        """Whether the request has made, changed or removed this row."""
        return row in self._added or row in self._removed or (row in self._before and bool(self._changed(row)))

    def updated(self) -> list[tuple[Record, dict[str, Any], set[str]]]:
        """Each row that was there before and is not as it was: the row, its former values, the names that changed."""
        return [(row, before, changed) for row, before in self._before.items() if (changed := self._changed(row))]

    def _changed(self, row: Record) -> set[str]:
        state = _state(row)
        return {name for name, value in self._before[row].items() if not same(state[name], value)}


class Rows:
    """What is loaded and locked, for the session of one batch; ``changes`` are those of the request being served.

    With ``lock`` rows that may be changed are locked ``FOR NO KEY UPDATE`` and those referred to ``FOR KEY SHARE``: the
    two do not wait for each other, so that a child can be added to a row that another partition changes.
    """

    def __init__(self, session: AsyncSession, *, lock: bool = True) -> None:
        self._session = session
        self._lock = lock
        self._by_id: dict[tuple[type[Base], UUID], Record | None] = {}
        self._parents: dict[tuple[type[Base], UUID], bool] = {}
        self._by_unique: dict[Unique, UUID | None] = {}
        self.changes = Changes()

    async def load(self, wanted: Wanted) -> None:
        """Load what a batch names, one statement an entity and a kind of name, ordered by table and id."""
        for model in sorted(wanted.rows, key=_table_name):
            await self._load(model, wanted.rows[model])
        for parent in sorted(wanted.parents, key=_table_name):
            known = {row_id for model, row_id in self._by_id if model is parent}
            await self._load_parents(parent, wanted.parents[parent] - known)
        for model, names in sorted(wanted.uniques, key=lambda unique: (_table_name(unique[0]), unique[1])):
            await self._load_unique(model, names, wanted.uniques[model, names])

    async def get(self, model: type[Record], row_id: UUID) -> Record | None:
        """The row, locked to be changed by the request being served."""
        if (model, row_id) not in self._by_id:
            await self._load(model, {row_id})
        row = self._by_id[model, row_id]
        if row is not None:
            self.changes.get(row)
        return row

    async def exists(self, model: type[Base], row_id: UUID) -> bool:
        """Whether there is such a row to refer to; if so, nobody deletes it before this transaction ends."""
        if (model, row_id) in self._by_id:
            return self._by_id[model, row_id] is not None
        if (model, row_id) not in self._parents:
            await self._load_parents(model, {row_id})
        return self._parents[model, row_id]

    async def find(self, model: type[Base], names: tuple[str, ...], values: tuple[Any, ...]) -> UUID | None:
        """The row that has these values in a unique constraint's columns; None in one of them is equal to nothing."""
        if None in values:
            return None
        if (model, names, values) not in self._by_unique:
            await self._load_unique(model, names, {values})
        return self._by_unique[model, names, values]

    def add(self, row: Record) -> None:
        """A new row, of an id and unique values that are free."""
        self._session.add(row)
        self.changes.add(row)
        self._by_id[type(row), row.id] = row
        self._own_uniques(row, row.__dict__, row.id)

    async def remove(self, row: Record) -> None:
        """Delete the row; flushed on both sides, for a flush writes what came before a delete after it."""
        await self._session.flush()
        await self._session.delete(row)
        await self._session.flush()
        self._note_removed(row)

    def _note_removed(self, row: Record) -> None:
        self.changes.remove(row)
        self._own_uniques(row, row.__dict__, None)
        self._by_id[type(row), row.id] = None
        self._forget_children(row)

    def begin(self) -> Changes:
        """A request begins: nothing is changed yet."""
        self.changes = Changes()
        return self.changes

    async def end(self) -> None:
        """A request ends: count the version of what it changed; flush where a unique value was changed."""
        renamed: list[tuple[Record, dict[str, Any]]] = []
        for row, before, changed in self.changes.updated():
            row.version = before["version"] + 1
            row.updated_at = now()
            if any(changed.intersection(unique) for unique in keys.uniques(type(row))):
                renamed.append((row, before))
        for row, before in renamed:
            self._own_uniques(row, before, None)
        for row, _ in renamed:
            self._own_uniques(row, row.__dict__, row.id)
        if renamed:
            await self._session.flush()

    def forget(self) -> None:
        """Begin anew, after a rollback or a statement that changed rows behind the session's back."""
        self._session.expunge_all()
        self._by_id, self._parents, self._by_unique = {}, {}, {}
        self.begin()

    def _own_uniques(self, row: Record, values: dict[str, Any], owner: UUID | None) -> None:
        for names in keys.uniques(type(row)):
            self._by_unique[type(row), names, tuple(values[name] for name in names)] = owner

    def _forget_children(self, row: Record) -> None:
        """The database has deleted or changed those that referred to the row: ask again for them."""
        for model, name in keys.children(type(row)):
            self._parents = {key: found for key, found in self._parents.items() if key[0] is not model}
            self._by_unique = {key: found for key, found in self._by_unique.items() if key[0] is not model}
            for other in [other for other in self._by_id.values() if other]:
                if (type(other), other.id) not in self._by_id:
                    continue  # forgotten with another one
                if isinstance(other, model) and getattr(other, name) == row.id:
                    self._forget(other)
                    self._forget_children(other)
                elif any(_holds(other, key, name, row.id) for key in _collections_of(other, model)):
                    self._forget(other)

    def _forget(self, row: Record) -> None:
        self._session.expunge(row)
        self.changes.forget(row)
        del self._by_id[type(row), row.id]

    async def _load(self, model: type[Record], ids: set[UUID]) -> None:
        statement = select(model).where(model.id.in_(_padded(sorted(ids)))).order_by(model.id)
        if self._lock:
            statement = statement.with_for_update(key_share=True)
        with self._session.no_autoflush:
            found = {row.id: row for row in await self._session.scalars(statement)}
        self._by_id |= {(model, row_id): found.get(row_id) for row_id in ids}

    async def _load_parents(self, model: type[Base], ids: set[UUID]) -> None:
        if not ids:
            return
        statement = select(model.id).where(model.id.in_(_padded(sorted(ids)))).order_by(model.id)
        if self._lock:
            statement = statement.with_for_update(key_share=True, read=True)
        with self._session.no_autoflush:
            found = set(await self._session.scalars(statement))
        self._parents |= {(model, row_id): row_id in found for row_id in ids}

    async def _load_unique(self, model: type[Base], names: tuple[str, ...], values: set[tuple[Any, ...]]) -> None:
        attributes = [getattr(model, name) for name in names]
        statement = select(model.id, *attributes).where(tuple_(*attributes).in_(_padded(sorted(values))))
        with self._session.no_autoflush:
            found = {tuple(value): row_id for row_id, *value in await self._session.execute(statement)}
        for value in values:
            self._by_unique[model, names, value] = found.get(value)


def _state(row: Record) -> dict[str, Any]:
    """What of the row a request can change: its columns, and which rows its collections hold."""
    state = {name: row.__dict__[name] for name in columns(type(row))}
    return state | {name: tuple(held.id for held in getattr(row, name)) for name, _ in keys.collections(type(row))}


def _collections_of(row: Record, model: type[Base]) -> list[str]:
    """The collections of the row that hold rows of this model."""
    return [name for name, held in keys.collections(type(row)) if held is model]


def _holds(row: Record, collection: str, name: str, value: UUID) -> bool:
    return any(getattr(held, name) == value for held in getattr(row, collection))


def _table_name(model: type[Base]) -> str:
    return str(model.__tablename__)


def _padded[T](values: Sequence[T]) -> list[T]:
    """Padded to a power of two: a few statements to prepare, not one for each length."""
    size = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (size - len(values))]


def of(session: AsyncSession) -> Rows:
    """The session's rows; of a session that no batch has opened, rows of its own."""
    rows: Rows = session.info.get("rows") or session.info.setdefault("rows", Rows(session))
    return rows
