"""Versions in an application's session: counted at each flush, once a transaction for each changed row.

A batch counts once a request instead (``BatchMap.count_versions``): its transaction holds many requests.
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
from src.persistence import cascades, loading, versioning


class VersionCounter:
    """The versions that one transaction has given to rows."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._given: dict[Record, int] = {}

    def count(self, session: Session, locked: Callable[[Record], bool]) -> bool:
        """Count what the session is about to write. Return whether it deletes rows, which may change any other row.

        Changes of a row that is new in this transaction do not count. Raises VersionMismatch or NotFound for a row
        that was read without a lock and has changed since.
        """
        self._given |= {row: row.version for row in session.new if isinstance(row, Record)}
        changed = [row for row in session.dirty if isinstance(row, Record) and session.is_modified(row)]
        self._lock(session, [row for row in changed if not locked(row) and self._given.get(row) != _written(row)])
        for row in changed:  # from the version in the database, whatever version the application has set
            written = _written(row)
            versioning.increment(row, written - 1 if self._given.get(row) == written else written)
            self._given[row] = row.version
        deleted = [row for row in session.deleted if isinstance(row, Record)]
        for row in deleted:
            for update in cascades.of(type(row)).updates:
                session.connection().execute(update, {"row_id": row.id, "moment": now()})
        return bool(deleted)

    def clear(self) -> None:
        """End the transaction."""
        self._given.clear()

    def _lock(self, session: Session, rows: list[Record]) -> None:
        """Lock the rows and compare their versions, with one statement for each table."""
        tables: defaultdict[type[Record], dict[UUID, int]] = defaultdict(dict)
        for row in rows:
            tables[type(row)][row.id] = _written(row)
        for model, versions in tables.items():
            found = loading.versions(session.connection(), model, self._dialect, versions)
            if versions.keys() - found.keys():
                raise NotFound(f"There is no {model.__name__.lower()} with this id any more.")
            if found != versions:
                raise VersionMismatch


def _written(row: Record) -> int:
    version: int = (*inspect(row).attrs.version.history.deleted, row.version)[0]
    return version
