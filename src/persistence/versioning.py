"""The versions of what a session changes, counted as it is written: once a transaction, however often a row changes.

The service counts by request instead (``IdentityMap.count``), for its transactions hold many.
"""

from collections import defaultdict
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from src.base import Record
from src.clock import now
from src.dialects import Dialect
from src.errors import NotFound, VersionMismatch
from src.persistence import cascades, loading


class VersionCounter:
    """Those that the rows of one transaction were given by it."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._given: dict[Record, int] = {}

    def count(self, session: Session, locked: Callable[[Record], bool]) -> bool:
        """Count what the session is about to write. Whether it deletes rows, and so may change any other.

        What changes in a new row until the transaction ends is no change to anybody. Raises VersionMismatch or NotFound
        for one that was read without a lock, and is otherwise by now.
        """
        self._given |= {row: row.version for row in session.new if isinstance(row, Record)}
        changed = [row for row in session.dirty if isinstance(row, Record) and session.is_modified(row)]
        self._lock(session, [row for row in changed if not locked(row) and self._given.get(row) != _written(row)])
        for row in changed:
            self._change(row)
        gone = [row for row in session.deleted if isinstance(row, Record)]
        for row in gone:
            for update in cascades.of(type(row)).updates:
                session.connection().execute(update, {"row_id": row.id, "moment": now()})
        return bool(gone)

    def forget(self) -> None:
        """The transaction has ended."""
        self._given.clear()

    def _lock(self, session: Session, rows: list[Record]) -> None:
        """A statement a table."""
        tables: defaultdict[type[Record], dict[UUID, int]] = defaultdict(dict)
        for row in rows:
            tables[type(row)][row.id] = _written(row)
        for model, versions in tables.items():
            there = loading.versions(session.connection(), model, self._dialect, versions)
            if versions.keys() - there.keys():
                raise NotFound(f"There is no {model.__name__.lower()} with this id any more.")
            if there != versions:
                raise VersionMismatch

    def _change(self, row: Record) -> None:
        """Whatever the session was told of the version, it goes on from the one that the database has."""
        written = _written(row)
        row.version = written if self._given.get(row) == written else written + 1
        row.updated_at = now()
        self._given[row] = row.version


def _written(row: Record) -> int:
    version: int = (*inspect(row).attrs.version.history.deleted, row.version)[0]
    return version
