"""What the maps of all sessions that write share: locked rows, and changes that are not flushed yet."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Record
from src.clock import now
from src.persistence import cascades, identity_map, loading, relations
from src.persistence.bulk_writes import BulkWriter
from src.persistence.change_tracking import ChangeTracker
from src.persistence.chunked_reads import Selection
from src.persistence.identity_map import IdentityMap


@dataclass(eq=False)
class WriteMap(IdentityMap):
    """The rows of a session that writes. ``changes`` are those since the request or the transaction began."""

    writer: BulkWriter = field(init=False)
    changes: ChangeTracker = field(default_factory=ChangeTracker)
    stale: bool = False
    """Whether a statement of a handler's own may have changed any row."""

    def __post_init__(self) -> None:
        self.writer = BulkWriter(self.dialect)

    async def get(self, model: type[Record], row_id: UUID) -> Record | None:
        """Return the row, locked, and track its changes from now on."""
        if (model, row_id) not in self._by_id:
            await self._load(model, {row_id})
        row = self._by_id[model, row_id]
        if row is not None:
            if self.stale:
                await self._refresh(row)
            self.changes.track(row)
        return row

    async def select[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        """Flush all changes and return the selected rows, locked and tracked as by ``get``."""
        await self.write_unique_values()
        await self.session.flush()
        found = await loading.select(self.session, selection.plain, values)
        for row in found:
            self._add(row)
            self.changes.track(row)
        return found

    async def find(self, model: type[Base], names: tuple[str, ...], values: tuple[Any, ...]) -> UUID | None:
        if None not in values:
            await self.write_unique_values()
        return await super().find(model, names, values)

    async def add(self, row: Record) -> None:
        """Add a new row, whose id and unique values are free."""
        if row.id in self.writer.deleted.get(type(row), ()):
            await self.session.flush()
        self.writer.add(row)
        self.changes.add(row)
        self._add(row)

    async def write_new(self) -> None:
        """Flush the new rows before one of them refers to another row of its table.

        A flush updates a table before it inserts into the table, and not every database defers the check of a
        foreign key to the end of the statement.
        """
        if self.writer.new or self.session.new:
            await self.session.flush()

    async def remove(self, row: Record) -> None:
        """Delete the row, and apply what the database does to other rows."""
        self.changes.remove(row)
        if not relations.is_leaf(type(row)):
            await self._remove_with_cascades(row)
        elif not self.writer.discard(row):
            self.session.expunge(row)
            self.writer.delete_later(row)
        self._free_unique_values(row)
        self._by_id[type(row), row.id] = None

    async def write_unique_values(self) -> None:
        """Flush the rows whose unique values have changed: a value is freed before another row takes it."""
        held = [row for row in self.changes.held(Record) if relations.uniques(type(row))]
        changed = [row for row in held if self._has_other_uniques(row, row.__dict__)]
        for row in changed:
            self._free_unique_values(row)
        for row in changed:
            self._add(row)
        if changed:
            await self.session.flush()

    def expire_all(self) -> None:
        """Forget all rows: they may have changed, or are not locked any more. Nothing is left to write."""
        self.writer.clear()
        self._by_id, self._parents, self._by_unique = {}, {}, {}
        self._owned.clear()
        self._dropped.clear()
        self.stale = False
        self.changes = ChangeTracker()

    async def _flush_before_load(self, model: type[Base], ids: Collection[UUID] | None = None) -> None:
        """Flush changed rows that are loaded again: the load would overwrite the change."""
        if ids and any(isinstance(row, model) and row.id in ids for row in self.session.dirty):
            await self.session.flush()

    async def _refresh(self, row: Record) -> None:
        """Read again the attributes that a handler's own UPDATE has expired."""
        if inspect(row).expired_attributes:
            await self.session.refresh(row)

    async def _remove_with_cascades(self, row: Record) -> None:
        """Flush before and after the deletion: a flush writes deletions last, also those that came before an update."""
        consequences = cascades.of(type(row))
        await self.session.flush()
        connection = await self.session.connection()
        for update in consequences.updates:
            await connection.execute(update, {"row_id": row.id, "moment": now()})
        self.session.expunge(row)
        self.writer.delete_later(row)
        await self.session.flush()
        self._by_id.pop((type(row), row.id), None)
        for model in consequences.models:
            await self._reload(model)

    async def _reload(self, model: type[Base]) -> None:
        """Drop the rows of a model that a deletion may have changed; rows that the handler holds are loaded at once."""
        held = self.changes.held(model)
        for key, row in [*self._by_id.items()]:
            if key[0] is model and row not in held:
                self._drop(*key)
        self._parents = {key: found for key, found in self._parents.items() if key[0] is not model}
        self._by_unique = {key: owner for key, owner in self._by_unique.items() if key[0] is not model}
        for row in held:
            del self._by_id[model, row.id]
        for row in held:
            if await self.get(type(row), row.id) is row:
                self.changes.reloaded(row)
            else:
                self.session.expunge(row)
                self.changes.deleted(row)

    def _drop(self, model: type[Base], row_id: UUID) -> None:
        """Forget the row, and load it again with the next load of its model."""
        row = self._by_id.pop((model, row_id))
        if row is None:
            return
        self._dropped.setdefault(model, set()).add(row_id)
        if row in self.session:
            self.session.expunge(row)

    def _has_other_uniques(self, row: Record, values: Mapping[str, Any]) -> bool:
        return self._owned.get((type(row), row.id)) != identity_map.uniques(type(row), values)

    def _free_unique_values(self, row: Record) -> None:
        for unique in self._owned.pop((type(row), row.id), ()):
            if self._by_unique.get(unique) == row.id:
                self._by_unique[unique] = None


def of(session: AsyncSession) -> WriteMap:
    """Return the session's map. Raises as ``identity_map.of`` does, and TypeError for a session that only reads."""
    rows = identity_map.of(session)
    if not isinstance(rows, WriteMap):
        raise TypeError("this session only reads: `async with database.session() as session` is one that writes")
    return rows
