"""The map of a batch of writes, whose requests share one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import inspect

from src.base import Base, Record
from src.persistence import versioning
from src.persistence.change_tracking import ChangeTracker
from src.persistence.identity_map import Unique
from src.persistence.write_map import WriteMap


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the map held at one moment, to be restored after a rollback to that moment."""

    by_id: dict[tuple[type[Base], UUID], Record | None]
    parents: dict[tuple[type[Base], UUID], bool]
    by_unique: dict[Unique, UUID | None]
    owned: dict[tuple[type[Base], UUID], list[Unique]]


class BatchMap(WriteMap):
    """The rows of one batch. A request begins, counts its changes, and ends or is undone."""

    def begin(self) -> ChangeTracker:
        """Begin a request, which has changed nothing yet."""
        self.changes = ChangeTracker()
        return self.changes

    async def count_versions(self) -> None:
        """Increment the version of each row that the request has changed. Call it when the handler has returned."""
        if self.stale:
            for row in self.changes.held(Record):
                await self._refresh(row)
        for update in self.changes.settle():
            versioning.increment(update.row, update.before["version"])

    async def end(self) -> None:
        """End a request whose changes stay."""
        await self.write_unique_values()
        if self.stale:
            await self.session.flush()
            self.clear()

    def undo(self) -> bool:
        """Undo the request's changes in memory. Return False, with nothing undone, where the database has seen them."""
        originals = self._original_values()
        if originals is None:
            return False
        for row, values in originals.items():
            for name, value in values.items():
                setattr(row, name, value)
        for row in self.changes.added:
            self.writer.discard(row)
            self._free_unique_values(row)
            self._by_id[type(row), row.id] = None
        self.begin()
        return True

    def _original_values(self) -> Mapping[Record, Mapping[str, Any]] | None:
        """Return the changed rows' values from before the request; None where memory alone cannot undo it."""
        originals = self.changes.original_values()
        if originals is None or self.stale or any(row not in self.writer.new for row in self.changes.added):
            return None
        if any(self._has_other_uniques(row, row.__dict__ | values) for row, values in originals.items()):
            return None
        return originals

    def mark_stale(self) -> None:
        """Note a statement of the handler's own: loaded rows serve this request, the next one loads them again."""
        self.stale = True

    def clear(self) -> None:
        """Forget all rows, also in the session: after a rollback, or after a handler's own statement."""
        self.session.expunge_all()
        self.expire_all()

    def snapshot(self) -> Snapshot:
        """Return what the map holds, for ``restore`` after a rollback to this moment."""
        return Snapshot(dict(self._by_id), dict(self._parents), dict(self._by_unique), dict(self._owned))

    def restore(self, snapshot: Snapshot) -> None:
        """Restore the snapshot; rows that were changed since are loaded again with the next load of their model."""
        touched = {*self.changes.rows()}
        self._by_id, self._parents = snapshot.by_id, snapshot.parents
        self._by_unique, self._owned = snapshot.by_unique, snapshot.owned
        kept = {row for row in self._by_id.values() if row is not None}
        for later in [row for row in self.session if isinstance(row, Record) and row not in kept]:
            self.session.expunge(later)
        for (model, row_id), row in [*self._by_id.items()]:
            if row is not None and (row in touched or row not in self.session or inspect(row).expired):
                self._drop(model, row_id)
        self.stale = False
        self.begin()

    async def write_last(self) -> None:
        """Flush what is left to write. The rows are not used after it."""
        self.writer.last = True
        await self.session.flush()
