"""The rows that a session has loaded: ``(model, id) → row or None``.

The requests of a batch share a session, and each request must find the changes of those before it, flushed or not.
SQLAlchemy's identity map does not serve that purpose: it is weak, lacks pending rows, still holds rows that were
deleted by a cascade, and queries absent rows again. Therefore the rows that a batch names are loaded ahead into this
map, and ``crud`` reads and changes the map. A row that is not in the map is queried.

Each kind of session has its own map: ``ReadMap`` for reads, ``BatchMap`` for a batch of writes, ``LibraryMap`` for
the session of an application.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Record
from src.dialects import Dialect
from src.persistence import loading, relations
from src.persistence.chunked_reads import Selection
from src.persistence.failed_statements import FailedStatements

INFO = "rows"
"""The key of a session's ``info`` that has the map."""

type Unique = tuple[type[Base], tuple[str, ...], tuple[Any, ...]]


type Sets[K, V] = defaultdict[K, set[V]]


@dataclass(slots=True)
class LoadPlan:
    """What a batch names: rows to change, rows referred to, unique values."""

    rows: Sets[type[Record], UUID] = field(default_factory=lambda: defaultdict(set))
    parents: Sets[type[Base], UUID] = field(default_factory=lambda: defaultdict(set))
    uniques: Sets[tuple[type[Record], tuple[str, ...]], tuple[Any, ...]] = field(
        default_factory=lambda: defaultdict(set)
    )


@dataclass(eq=False)
class IdentityMap(ABC):
    """What all kinds of sessions share: rows by id, rows referred to, and the owners of unique values."""

    locks: ClassVar[bool] = True
    """Whether loads lock the rows."""

    session: AsyncSession
    dialect: Dialect
    failed_statements: FailedStatements = field(default_factory=FailedStatements)
    """In a batch ``crud`` answers nothing after a failed statement: a request alone could not query any more."""
    _by_id: dict[tuple[type[Base], UUID], Record | None] = field(default_factory=dict)
    _parents: dict[tuple[type[Base], UUID], bool] = field(default_factory=dict)
    _by_unique: dict[Unique, UUID | None] = field(default_factory=dict)
    _owned: dict[tuple[type[Base], UUID], list[Unique]] = field(default_factory=dict)
    _dropped: dict[type[Base], set[UUID]] = field(default_factory=dict)
    """Rows to be loaded again with the next load of their model."""

    @abstractmethod
    async def get(self, model: type[Record], row_id: UUID) -> Record | None:
        """Return the row, or None."""

    @abstractmethod
    async def select[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        """Return the selected rows. ``values`` are the parameters of the statement."""

    async def load(self, plan: LoadPlan) -> None:
        """Load what a batch names, with one statement for each table and kind of name, ordered by table and id."""
        for model in sorted(plan.rows, key=lambda each: each.__tablename__):
            await self._load(model, plan.rows[model])
        for parent in sorted(plan.parents, key=lambda each: each.__tablename__):
            await self.load_parents(parent, plan.parents[parent])
        for model, names in sorted(plan.uniques, key=lambda each: (each[0].__tablename__, each[1])):
            await self._load_owners(model, names, plan.uniques[model, names])

    async def exists(self, model: type[Base], row_id: UUID) -> bool:
        """Return whether there is such a row; where the session locks, it stays until the transaction ends."""
        if (model, row_id) in self._by_id:
            return self._by_id[model, row_id] is not None
        if (model, row_id) not in self._parents:
            await self.load_parents(model, [row_id])
        return self._parents[model, row_id]

    async def load_parents(self, model: type[Base], ids: Collection[UUID]) -> None:
        """Query rows that are referred to, with one statement."""
        unknown = {each for each in ids if (model, each) not in self._by_id and (model, each) not in self._parents}
        if unknown:
            await self._flush_pending(model, unknown)
            existing = await loading.ids(self.session, self.dialect, model, unknown, lock=self.locks)
            self._parents |= {(model, each): each in existing for each in unknown}

    async def find(self, model: type[Base], names: tuple[str, ...], values: tuple[Any, ...]) -> UUID | None:
        """Return the id of the row that has these values in a unique constraint. A null is equal to nothing."""
        if None in values:
            return None
        if (model, names, values) not in self._by_unique:
            await self._load_owners(model, names, {values})
        return self._by_unique[model, names, values]

    async def _load(self, model: type[Record], ids: set[UUID]) -> None:
        """Load these rows, and those of the model that were dropped."""
        ids = ids | {each for each in self._dropped.pop(model, set()) if (model, each) not in self._by_id}
        await self._flush_pending(model, ids)
        found = await self._query(model, ids)
        self._by_id |= dict.fromkeys(((model, row_id) for row_id in ids), None)
        for row in found:
            self._add(row)

    async def _query[M: Record](self, model: type[M], ids: Collection[UUID]) -> Sequence[M]:
        return await loading.rows(self.session, self.dialect, model, ids, lock=self.locks)

    async def _flush_pending(self, model: type[Base], ids: Collection[UUID] | None = None) -> None:
        if self.session.dirty or self.session.new or self.session.deleted:
            await self._flush_before_load(model, ids)

    async def _flush_before_load(  # noqa: B027 - a read has nothing to flush
        self, model: type[Base], ids: Collection[UUID] | None = None
    ) -> None:
        """Write changes of such rows that a query would miss."""

    async def _load_owners(self, model: type[Base], names: tuple[str, ...], values: set[tuple[Any, ...]]) -> None:
        unknown = {value for value in values if (model, names, value) not in self._by_unique}
        if unknown:
            await self._flush_pending(model)
            found = await loading.owners(self.session, model, names, unknown)
            self._by_unique |= {(model, names, value): found.get(value) for value in unknown}

    def _add(self, row: Record) -> None:
        """Record that the row exists and owns its unique values."""
        key = type(row), row.id
        self._by_id[key] = row
        self._parents.pop(key, None)
        self._owned[key] = uniques(type(row), row.__dict__)
        self._by_unique |= dict.fromkeys(self._owned[key], row.id)


def uniques(model: type[Base], row: Mapping[str, Any]) -> list[Unique]:
    """Return the row's values in each unique constraint, without those that contain a null."""
    named = [(names, tuple(row[name] for name in names)) for names in relations.uniques(model)]
    return [(model, names, values) for names, values in named if None not in values]


def of(session: AsyncSession) -> IdentityMap:
    """Return the session's map. Raises TypeError for a foreign session, and again the error of a failed statement."""
    rows: IdentityMap | None = session.info.get(INFO)
    if rows is None:
        raise TypeError("crud works on the sessions of a Database: `async with database.session() as session`")
    if error := rows.failed_statements.standing:
        raise error
    return rows
