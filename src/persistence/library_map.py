"""The map of a session that an application uses in its own process."""

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.orm import Session

from src.base import Base, Record
from src.persistence.bulk_writes import BulkWriter
from src.persistence.version_counter import VersionCounter
from src.persistence.write_map import WriteMap


@dataclass(eq=False)
class LibraryMap(WriteMap):
    """The rows of an application's session, which the application may also change past ``crud``."""

    versions: VersionCounter = field(init=False)

    def __post_init__(self) -> None:
        self.writer = OrmWriter(self.dialect)
        self.versions = VersionCounter(self.dialect)

    def is_locked(self, row: Record) -> bool:
        """Return whether the row was loaded by ``crud``, and so locked before it was read."""
        return self._by_id.get((type(row), row.id)) is row

    async def _flush_before_load(self, model: type[Base], ids: Collection[UUID] | None = None) -> None:
        """Flush such rows as the application has added, changed or deleted itself: a query would miss that."""
        pending = (*self.session.new, *self.session.dirty, *self.session.deleted)
        if any(isinstance(row, model) and (ids is None or row.id in ids) for row in pending):
            await self.session.flush()


class OrmWriter(BulkWriter):
    """Writes new rows by the ORM, which reverts their state when the application rolls back a savepoint."""

    def insert(self, session: Session) -> None:
        new, self.new = [*self.new], {}
        session.add_all(new)
