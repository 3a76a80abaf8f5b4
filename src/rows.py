"""The rows of one batch: ``(model, id) → row or None``.

A hundred requests share a session, and each must find what those before it left, flushed or not. SQLAlchemy's identity
map cannot tell: it is weak, does not find pending rows, still finds deleted and cascaded ones, and asks again for those
that are not there. So the rows that a batch names are loaded ahead into a dictionary, and ``crud`` reads and writes it.
Whatever is not in it is asked of the database, which differs from it only in what is not yet flushed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, UniqueConstraint, inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Timestamped, Versioned, columns, now, same


@dataclass(frozen=True)
class Keys:
    """By what a model's rows are named: ``parents`` maps a foreign key's attribute to the model it refers to."""

    parents: dict[str, type[Base]]
    uniques: tuple[tuple[str, ...], ...]


@cache
def keys(model: type[Base]) -> Keys:
    """The model's foreign keys and unique constraints, as its attributes."""
    mapper = inspect(model)
    table = cast("Table", mapper.local_table)
    models = {other.local_table: other.class_ for other in mapper.registry.mappers}
    attribute = {column: mapper.get_property_by_column(column).key for column in table.columns}
    uniques = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    return Keys(
        parents={attribute[key.parent]: models[key.column.table] for key in table.foreign_keys},
        uniques=tuple(sorted(tuple(attribute[column] for column in unique.columns) for unique in uniques)),
    )


@cache
def children(model: type[Base]) -> tuple[tuple[type[Base], str], ...]:
    """Each model that refers to this one, with the attribute that does."""
    others: list[type[Base]] = [mapper.class_ for mapper in inspect(model).registry.mappers]
    return tuple((other, name) for other in others for name, parent in keys(other).parents.items() if parent is model)


@cache
def collections(model: type[Base]) -> tuple[tuple[str, type[Base]], ...]:
    """The relationships that are loaded with a row and belong to it, with the model that they hold."""
    owned = (rel for rel in inspect(model).relationships if rel.uselist and rel.lazy == "selectin")
    return tuple((rel.key, rel.mapper.class_) for rel in owned)


type Unique = tuple[type[Base], tuple[str, ...], tuple[Any, ...]]


@dataclass
class Wanted:
    """What a batch names: rows to change, rows referred to, unique values."""

    rows: dict[type[Base], set[UUID]]
    parents: dict[type[Base], set[UUID]]
    uniques: dict[tuple[type[Base], tuple[str, ...]], set[tuple[Any, ...]]]

    def __init__(self) -> None:
        self.rows, self.parents, self.uniques = defaultdict(set), defaultdict(set), defaultdict(set)


class Rows:
    """The dictionary, and what the request being served has changed in it.

    With ``lock`` rows that may be changed are locked ``FOR NO KEY UPDATE`` and those referred to ``FOR KEY SHARE``: the
    two do not wait for each other, so that a child can be added to a row that another partition changes.
    """

    def __init__(self, session: AsyncSession, *, lock: bool = True) -> None:
        self._session = session
        self._lock = lock
        self._by_id: dict[tuple[type[Base], UUID], Base | None] = {}
        self._parents: dict[tuple[type[Base], UUID], bool] = {}
        self._by_unique: dict[Unique, UUID | None] = {}
        self._before: dict[Base, dict[str, Any]] = {}
        self._added: list[Base] = []
        self._removed: list[Base] = []

    async def load(self, wanted: Wanted) -> None:
        """Load what a batch names, one statement an entity and a kind of name, ordered by table and id."""
        for model in sorted(wanted.rows, key=_table_name):
            await self._load(model, wanted.rows[model])
        for model in sorted(wanted.parents, key=_table_name):
            await self._load_parents(model, wanted.parents[model] - wanted.rows.get(model, set()))
        for model, names in sorted(wanted.uniques, key=lambda unique: (_table_name(unique[0]), unique[1])):
            await self._load_unique(model, names, wanted.uniques[model, names])

    async def get(self, model: type[Base], row_id: UUID) -> Base | None:
        """The row, locked to be changed; its changes from here on belong to the request being served."""
        if (model, row_id) not in self._by_id:
            await self._load(model, {row_id})
        return self._hand_over(self._by_id[model, row_id])

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

    def add(self, row: Base) -> None:
        """A new row, of an id and unique values that are free."""
        self._session.add(row)
        self._added.append(row)
        self._by_id[type(row), row.id] = row
        self._set_uniques(row, row.id)

    async def remove(self, row: Base) -> None:
        """Delete the row; flushed on both sides, for a flush writes what came before a delete after it."""
        await self._session.flush()
        await self._session.delete(row)
        await self._session.flush()
        self._note_removed(row)

    def _note_removed(self, row: Base) -> None:
        self._removed.append(row)
        self._before.pop(row, None)
        self._set_uniques(row, None)
        self._by_id[type(row), row.id] = None
        self._forget_children(row)

    def begin(self) -> None:
        """A request begins: nothing is changed yet."""
        self._before, self._added, self._removed = {}, [], []

    @property
    def touched(self) -> bool:
        """The request has changed something."""
        return bool(self._added or self._removed or any(self._changes(row) for row in self._before))

    def changed(self, row: Base) -> bool:
        """The request has made, changed or removed this row."""
        return row in self._added or row in self._removed or (row in self._before and bool(self._changes(row)))

    async def end(self) -> None:
        """A request ends: count the version of what it changed; flush where a unique value was changed."""
        renamed: list[Base] = []
        for row, before in self._before.items():
            changes = self._changes(row)
            if not changes or row in self._added:
                continue
            if isinstance(row, Versioned):
                row.version = before["version"] + 1
            if isinstance(row, Timestamped):
                row.updated_at = now()
            if any(changes.intersection(unique) for unique in keys(type(row)).uniques):
                renamed.append(row)
        for row in renamed:
            self._set_uniques(row, None, self._before[row])
        for row in renamed:
            self._set_uniques(row, row.id)
        if renamed:
            await self._session.flush()

    def forget(self) -> None:
        """Begin anew, after a rollback or a statement that changed rows behind the session's back."""
        self._session.expunge_all()
        self._by_id, self._parents, self._by_unique = {}, {}, {}
        self.begin()

    def _hand_over(self, row: Base | None) -> Base | None:
        if row is not None and row not in self._before:
            self._before[row] = _state(row)
        return row

    def _changes(self, row: Base) -> set[str]:
        state = _state(row)
        return {name for name, value in self._before[row].items() if not same(state[name], value)}

    def _set_uniques(self, row: Base, owner: UUID | None, values: dict[str, Any] | None = None) -> None:
        values = values or row.__dict__
        for names in keys(type(row)).uniques:
            self._by_unique[type(row), names, tuple(values[name] for name in names)] = owner

    def _forget_children(self, row: Base) -> None:
        """The database has deleted or changed those that referred to the row: ask again for them."""
        for model, name in children(type(row)):
            self._parents = {key: found for key, found in self._parents.items() if key[0] is not model}
            self._by_unique = {key: found for key, found in self._by_unique.items() if key[0] is not model}
            for other in [other for other in self._by_id.values() if other]:
                if (type(other), other.id) not in self._by_id:
                    continue  # forgotten with another one
                if isinstance(other, model) and getattr(other, name) == row.id:
                    self._forget(other)
                    self._forget_children(other)
                elif any(_holds(other, key, name, row.id) for key, held in collections(type(other)) if held is model):
                    self._forget(other)

    def _forget(self, row: Base) -> None:
        self._session.expunge(row)
        self._before.pop(row, None)
        del self._by_id[type(row), row.id]

    async def _load(self, model: type[Base], ids: set[UUID]) -> None:
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


def _state(row: Base) -> dict[str, Any]:
    """What of the row a request can change: its columns, and which rows its collections hold."""
    state = {name: row.__dict__[name] for name in columns(type(row))}
    return state | {name: tuple(held.id for held in getattr(row, name)) for name, _ in collections(type(row))}


def _holds(row: Base, collection: str, name: str, value: UUID) -> bool:
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
