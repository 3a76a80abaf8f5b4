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
from dataclasses import dataclass
from typing import Any
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


@dataclass
class LoadPlan:
    """What a batch names: rows to change, rows referred to, unique values."""

    rows: dict[type[Record], set[UUID]]
    parents: dict[type[Base], set[UUID]]
    uniques: dict[tuple[type[Record], tuple[str, ...]], set[tuple[Any, ...]]]

    def __init__(self) -> None:
        self.rows, self.parents, self.uniques = defaultdict(set), defaultdict(set), defaultdict(set)


class IdentityMap(ABC):
    """What all kinds of sessions share: rows by id, rows referred to, and the owners of unique values."""

    locks = True
    """Whether loads lock the rows."""
    failed_statements: FailedStatements | None = None
    """In a batch ``crud`` answers nothing after a failed statement: a request alone could not query any more."""

    def __init__(self, session: AsyncSession, dialect: Dialect) -> None:
        self.session = session
        self.dialect = dialect
        self._by_id: dict[tuple[type[Base], UUID], Record | None] = {}
        self._parents: dict[tuple[type[Base], UUID], bool] = {}
        self._by_unique: dict[Unique, UUID | None] = {}
        self._owned: dict[tuple[type[Base], UUID], list[Unique]] = {}
        self._dropped: defaultdict[type[Base], set[UUID]] = defaultdict(set)  # loaded again with the next load

    @abstractmethod
    async def get(self, model: type[Record], row_id: UUID) -> Record | None:
        """Return the row, or None."""

    @abstractmethod
    async def select[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        """Return the selected rows. ``values`` are the parameters of the statement."""

    async def load(self, plan: LoadPlan) -> None:
        """Load what a batch names, with one statement for each table and kind of name, ordered by table and id."""
        for model in sorted(plan.rows, key=relations.table_name):
            await self._load(model, plan.rows[model])
        for parent in sorted(plan.parents, key=relations.table_name):
            await self.load_parents(parent, plan.parents[parent])
        for model, names in sorted(plan.uniques, key=lambda unique: (relations.table_name(unique[0]), unique[1])):
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
            await self._flush_before_load(model, unknown)
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
        await self._flush_before_load(model, ids)
        found = await self._query(model, ids)
        self._by_id |= dict.fromkeys(((model, row_id) for row_id in ids), None)
        for row in found:
            self._add(row)

    async def _query[M: Record](self, model: type[M], ids: Collection[UUID]) -> Sequence[M]:
        return await loading.rows(self.session, self.dialect, model, ids, lock=self.locks)

    async def _flush_before_load(  # noqa: B027 - a read has nothing to flush
        self, model: type[Base], ids: Collection[UUID] | None = None
    ) -> None:
        """Write changes of such rows that a query would miss."""

    async def _load_owners(self, model: type[Base], names: tuple[str, ...], values: set[tuple[Any, ...]]) -> None:
        unknown = {value for value in values if (model, names, value) not in self._by_unique}
        if unknown:
            await self._flush_before_load(model)
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
    if rows.failed_statements and (error := rows.failed_statements.standing):
        raise error
    return rows
