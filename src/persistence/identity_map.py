"""The rows of one batch: ``(model, id) → row or None``.

A hundred requests share a session, and each must find what those before it left, flushed or not. SQLAlchemy's identity
map cannot tell: it is weak, does not find pending rows, still finds deleted and cascaded ones, and asks again for those
that are not there. So the rows that a batch names are loaded ahead into a dictionary, and ``crud`` reads and writes it.
Whatever is not in it is asked of the database, which differs from it only in what is not yet flushed.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Record
from src.clock import now
from src.dialects import Dialect
from src.persistence import cascades, relations
from src.persistence.bulk_writes import BulkWriter
from src.persistence.change_tracking import ChangeTracker
from src.persistence.chunked_reads import ChunkedReader, Selection
from src.persistence.failed_statements import FailedStatements
from src.persistence.loading import Loader
from src.persistence.versioning import VersionCounter

type Unique = tuple[type[Base], tuple[str, ...], tuple[Any, ...]]


@dataclass
class LoadPlan:
    """What a batch names: rows to change, rows referred to, unique values."""

    rows: dict[type[Record], set[UUID]]
    parents: dict[type[Base], set[UUID]]
    uniques: dict[tuple[type[Record], tuple[str, ...]], set[tuple[Any, ...]]]

    def __init__(self) -> None:
        self.rows, self.parents, self.uniques = defaultdict(set), defaultdict(set), defaultdict(set)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was known at one moment, to be known again after a rollback to it."""

    by_id: dict[tuple[type[Base], UUID], Record | None]
    parents: dict[tuple[type[Base], UUID], bool]
    by_unique: dict[Unique, UUID | None]
    owned: dict[tuple[type[Base], UUID], list[Unique]]


class IdentityMap:
    """What is loaded and locked, for the session of one batch; ``changes`` are those of the request being served.

    What one reads who does not ``lock`` has so many bytes together at the most as an answer may have: its ``limit``.
    ``versions`` count what the session writes, unless requests are served in it: then ``count`` does.
    """

    def __init__(
        self,
        session: AsyncSession,
        dialect: Dialect,
        *,
        lock: bool = True,
        limit: float = math.inf,
        versions: VersionCounter | None = None,
    ) -> None:
        self._session = session
        self.versions = versions
        self.dialect = dialect
        self.lock = lock
        self._loads = Loader(session, dialect, lock=lock)
        self._pieces = ChunkedReader(session, self._loads, limit)
        self.writes = BulkWriter(dialect, tracked=versions is not None)
        self._by_id: dict[tuple[type[Base], UUID], Record | None] = {}
        self._parents: dict[tuple[type[Base], UUID], bool] = {}
        self._by_unique: dict[Unique, UUID | None] = {}
        self._owned: dict[tuple[type[Base], UUID], list[Unique]] = {}  # the unique values of the rows that are loaded
        self._stale: defaultdict[type[Base], set[UUID]] = defaultdict(set)  # to be read with the next that is asked for
        self.doubtful = False
        """A statement of the handler's own may have changed anything."""
        self.changes = ChangeTracker()
        self.refusals: FailedStatements | None = None
        """After one nothing is answered: what a batch happens to know, a request alone could not ask for."""

    async def load(self, wanted: LoadPlan) -> None:
        """Load what a batch names, one statement an entity and a kind of name, ordered by table and id."""
        for model in sorted(wanted.rows, key=_table_name):
            await self._load(model, wanted.rows[model])
        for parent in sorted(wanted.parents, key=_table_name):
            await self.load_parents(parent, wanted.parents[parent])
        for model, names in sorted(wanted.uniques, key=lambda unique: (_table_name(unique[0]), unique[1])):
            await self._load_unique(model, names, wanted.uniques[model, names])

    async def get(self, model: type[Record], row_id: UUID) -> Record | None:
        """The row, locked to be changed by the request being served."""
        if (model, row_id) not in self._by_id:
            await self._load(model, {row_id})
        row = self._by_id[model, row_id]
        if row is not None and self.lock:
            await self._refresh(row)
            self.changes.get(row)
        return row

    async def select[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        """The rows that are selected once all changes are written, locked as if they were got by their ids.

        Raises ResultTooLarge in a read.
        """
        if not self.lock:
            return await self._pieces.selected(selection, values)
        await self._write_renamed()
        await self._session.flush()
        found = await self._loads.selected(selection.plain, values)
        for row in found:
            self._note(row)
            self.changes.get(row)
        return found

    async def exists(self, model: type[Base], row_id: UUID) -> bool:
        """Whether there is such a row to refer to; if so, nobody deletes it before this transaction ends."""
        if (model, row_id) in self._by_id:
            return self._by_id[model, row_id] is not None
        if (model, row_id) not in self._parents:
            await self.load_parents(model, [row_id])
        return self._parents[model, row_id]

    async def load_parents(self, model: type[Base], ids: Collection[UUID]) -> None:
        """Ask for rows to refer to, in one statement."""
        unknown = {each for each in ids if (model, each) not in self._by_id and (model, each) not in self._parents}
        if unknown:
            await self._write_given(model, unknown)
            there = await self._loads.ids(model, unknown)
            self._parents |= {(model, each): each in there for each in unknown}

    async def find(self, model: type[Base], names: tuple[str, ...], values: tuple[Any, ...]) -> UUID | None:
        """The row that has these values in a unique constraint's columns; None in one of them is equal to nothing."""
        if None in values:
            return None
        await self._write_renamed()
        if (model, names, values) not in self._by_unique:
            await self._load_unique(model, names, {values})
        return self._by_unique[model, names, values]

    async def add(self, row: Record) -> None:
        """A new row, of an id and unique values that are free."""
        if self.writes.removes(row):
            await self._session.flush()
        self.writes.add(row)
        self.changes.add(row)
        self._note(row)

    async def write_new(self) -> None:
        """Write the new rows as they are, before one row of a table comes to refer to another.

        A flush updates a table before it adds to it, and not every database waits for a statement's last row to look.
        """
        if self.writes.new or self._session.new:
            await self._session.flush()

    async def remove(self, row: Record) -> None:
        """Delete the row, and what the database takes along."""
        self.changes.remove(row)
        if not relations.is_leaf(type(row)):
            await self._remove_with_others(row)
        elif not self.writes.drop(row):
            self._session.expunge(row)
            self.writes.remove(row)
        self._free_uniques(row)
        self._by_id[type(row), row.id] = None

    async def _remove_with_others(self, row: Record) -> None:
        """Flushed on both sides, for a flush writes what came before a delete after it."""
        consequences = cascades.of(type(row))
        await self._session.flush()
        connection = await self._session.connection()
        for update in consequences.updates:
            await connection.execute(update, {"row_id": row.id, "moment": now()})
        self._session.expunge(row)
        self.writes.remove(row)
        await self._session.flush()
        self._by_id.pop((type(row), row.id), None)
        for model in consequences.models:
            await self._reread(model)

    def locked(self, row: Record) -> bool:
        """Whether the row is locked for sure, and read since it was."""
        return self._by_id.get((type(row), row.id)) is row

    async def write_last(self) -> None:
        """Write what is still to be written; nothing is asked of these rows any more."""
        self.writes.last = True
        await self._session.flush()

    def begin(self) -> ChangeTracker:
        """A request begins: nothing is changed yet."""
        self.changes = ChangeTracker()
        self._pieces.begin()
        return self.changes

    async def count(self) -> None:
        """A handler has returned: count the version of what it changed."""
        if self.doubtful:
            for row in self.changes.held(Record):
                await self._refresh(row)
        self.changes.check_removed()
        for update in list(self.changes.updates()):
            update.row.version = update.before["version"] + 1
            update.row.updated_at = now()

    async def end(self) -> None:
        """A request ends, and what it changed stays: write what has another unique value."""
        await self._write_renamed()
        if self.doubtful:
            await self._session.flush()
            self.forget()

    def take_back(self) -> bool:
        """Undo what the request has changed. False where more than memory knows of it: then nothing is undone."""
        try:
            earlier, added = self._earlier(), self.changes.added
        except LookupError:
            return False
        for row, values in earlier.items():
            for name, value in values.items():
                setattr(row, name, value)
        for row in added:
            self.writes.drop(row)
            self._free_uniques(row)
            self._by_id[type(row), row.id] = None
        self.begin()
        return True

    def _earlier(self) -> dict[Record, dict[str, Any]]:
        """What the rows of the request were before. Raises LookupError where the database has seen too much of it."""
        earlier = self.changes.earlier()
        renamed = any(
            self._owned.get((type(row), row.id)) != _uniques(type(row), row.__dict__ | values)
            for row, values in earlier.items()
        )
        if self.doubtful or renamed or not all(map(self.writes.holds, self.changes.added)):
            raise LookupError
        return earlier

    def doubt(self) -> None:
        """A statement of the handler's own may have changed anything: what is loaded counts until the request ends."""
        self.doubtful = True

    def forget(self) -> None:
        """Know nothing any more: after a rollback, or where a handler's own statement may have changed any row."""
        self._session.expunge_all()
        self.lapse()

    def lapse(self) -> None:
        """What is loaded may be otherwise, or is no longer locked; nothing is left to write: ask for all of it anew."""
        self.writes.forget()
        self._by_id, self._parents, self._by_unique = {}, {}, {}
        self._owned.clear()
        self._stale.clear()
        self.doubtful = False
        self.begin()

    def known(self) -> Snapshot:
        """What is known now, for ``restore`` after a rollback to this moment."""
        return Snapshot(dict(self._by_id), dict(self._parents), dict(self._by_unique), dict(self._owned))

    def restore(self, known: Snapshot) -> None:
        """Know again what was known then; what was rolled back is read again with the next row that is asked for."""
        touched = {*self.changes.rows()}
        self._by_id, self._parents = known.by_id, known.parents
        self._by_unique, self._owned = known.by_unique, known.owned
        kept = {row for row in self._by_id.values() if row is not None}
        for stranger in [row for row in self._session if isinstance(row, Record) and row not in kept]:
            self._session.expunge(stranger)  # it was made, or first loaded, after that moment
        for (model, row_id), row in [*self._by_id.items()]:
            if row is not None and (row in touched or row not in self._session or inspect(row).expired):
                self._forget(model, row_id)
        self.doubtful = False
        self.begin()

    async def _refresh(self, row: Record) -> None:
        """Read again what a handler's own UPDATE has made SQLAlchemy forget of the row."""
        if self.doubtful and inspect(row).expired_attributes:
            await self._session.refresh(row)

    async def _write_renamed(self) -> None:
        """Write rows of which the request has changed a unique value: what frees one goes before what takes it."""
        held = self.changes.held(Record)
        renamed = [row for row in held if self._owned.get((type(row), row.id)) != _uniques(type(row), row.__dict__)]
        for row in renamed:
            self._free_uniques(row)
        for row in renamed:
            self._note(row)
        if renamed:
            await self._session.flush()

    async def _reread(self, model: type[Base]) -> None:
        """A deletion has deleted or changed rows of this model: those in a handler's hands are read again at once."""
        held = self.changes.held(model)
        for key, row in [*self._by_id.items()]:
            if key[0] is model and row not in held:
                self._forget(*key)
        self._parents = {key: found for key, found in self._parents.items() if key[0] is not model}
        self._by_unique = {key: owner for key, owner in self._by_unique.items() if key[0] is not model}
        for row in held:
            del self._by_id[model, row.id]
        for row in held:
            if await self.get(type(row), row.id) is row:
                self.changes.reread(row)
            else:
                self._session.expunge(row)
                self.changes.lose(row)

    async def _write_given(self, model: type[Base], ids: Collection[UUID] | None = None) -> None:
        """Write such rows, of these ids, as the session was given past ``crud``: a look at the database misses them."""
        if not self.versions:
            return
        given = (*self._session.new, *self._session.dirty, *self._session.deleted)
        if any(isinstance(row, model) and (ids is None or row.id in ids) for row in given):
            await self._session.flush()

    def _forget(self, model: type[Base], row_id: UUID) -> None:
        row = self._by_id.pop((model, row_id))
        if row is None:
            return
        self._stale[model].add(row_id)
        if row in self._session:
            self._session.expunge(row)

    def _note(self, row: Record) -> None:
        """The row is there, and has its unique values."""
        key = type(row), row.id
        self._by_id[key] = row
        self._parents.pop(key, None)
        self._owned[key] = _uniques(type(row), row.__dict__)
        self._by_unique |= dict.fromkeys(self._owned[key], row.id)

    def _free_uniques(self, row: Record) -> None:
        for unique in self._owned.pop((type(row), row.id), ()):
            if self._by_unique.get(unique) == row.id:
                self._by_unique[unique] = None

    async def _load(self, model: type[Record], ids: set[UUID]) -> None:
        """Load these rows, and those that were forgotten. What the session still has to write of them goes first."""
        ids = ids | {each for each in self._stale.pop(model, set()) if (model, each) not in self._by_id}
        if any(isinstance(row, model) and row.id in ids for row in self._session.dirty):
            await self._session.flush()
        await self._write_given(model, ids)
        found = await (self._loads.rows if self.lock else self._pieces.named)(model, ids)
        self._by_id |= dict.fromkeys(((model, row_id) for row_id in ids), None)
        for row in found:
            self._note(row)

    async def _load_unique(self, model: type[Base], names: tuple[str, ...], values: set[tuple[Any, ...]]) -> None:
        unknown = {value for value in values if (model, names, value) not in self._by_unique}
        if unknown:
            await self._write_given(model)
            found = await self._loads.owners(model, names, unknown)
            self._by_unique |= {(model, names, value): found.get(value) for value in unknown}


def _uniques(model: type[Base], row: Mapping[str, Any]) -> list[Unique]:
    """The row's values in each unique constraint, but for those that are equal to nothing."""
    named = [(names, tuple(row[name] for name in names)) for names in relations.uniques(model)]
    return [(model, names, values) for names, values in named if None not in values]


def _table_name(model: type[Base]) -> str:
    return str(model.__tablename__)


def of(session: AsyncSession) -> IdentityMap:
    """The session's rows. Raises TypeError for a session that is none of a ``Database``, and a refusal that stands."""
    rows: IdentityMap | None = session.info.get("rows")
    if rows is None:
        raise TypeError("crud works on the sessions of a Database: `async with database.session() as session`")
    if rows.refusals:
        rows.refusals.check()
    return rows


def changing(session: AsyncSession) -> IdentityMap:
    """The session's rows, to be changed. Raises TypeError as ``of`` does, and for a session that only reads."""
    rows = of(session)
    if not rows.lock:
        raise TypeError("this session only reads: `async with database.session() as session` is one that writes")
    return rows
