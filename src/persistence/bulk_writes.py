"""How what a batch has made and deleted is written: a statement a table, an array a column.

A new row that is nothing but its columns needs no unit of work: it is held back until anything is asked of the session,
and then written with all others of its table. One that has more to it goes through the ORM, and takes the others of its
flush along, so that parents come before children. The deletion of a row that nothing refers to waits for the flush too.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, make_transient_to_detached

from src.base import Record
from src.dialects import Dialect
from src.persistence import relations


class BulkWriter:
    """What is still to be written for one session, beside what the session itself has to write."""

    def __init__(self, dialect: Dialect, *, tracked: bool = False) -> None:
        self._dialect = dialect
        self._tracked = tracked  # by the ORM, which takes back what a savepoint's or the user's own rollback does
        self._new: dict[Record, None] = {}
        self._gone: defaultdict[type[Record], list[UUID]] = defaultdict(list)
        self.last = False
        """Nothing is asked of the session after the next flush: it need not know what was written."""

    def add(self, row: Record) -> None:
        """A new row."""
        self._new[row] = None

    @property
    def new(self) -> bool:
        """Whether there are new rows that are not yet written."""
        return bool(self._new)

    def holds(self, row: Record) -> bool:
        """Whether the row is new and not yet written."""
        return row in self._new

    def drop(self, row: Record) -> bool:
        """Whether the row was new and is never written."""
        if row not in self._new:
            return False
        del self._new[row]
        return True

    def remove(self, row: Record) -> None:
        """A row to be deleted by the next flush."""
        self._gone[type(row)].append(row.id)

    def removes(self, row: Record) -> bool:
        """Whether a row of this id is still to be deleted."""
        return row.id in self._gone.get(type(row), ())

    def insert(self, session: Session) -> None:
        """Write the new rows, before the session writes its own."""
        new, self._new = list(self._new), {}
        if not new:
            return
        if self._tracked or session.new or not all(map(_is_plain, new)):
            session.add_all(new)
            return
        tables: defaultdict[type[Record], list[Record]] = defaultdict(list)
        for row in new:
            tables[type(row)].append(row)
        connection = session.connection()
        for model in sorted(tables, key=_dependency):
            arrays = _arrays(model, tables[model])
            connection.execute(*self._dialect.insert_statement(cast("sa.Table", model.__table__), arrays))
        if not self.last:
            _attach(session, new)

    def delete(self, session: Session) -> None:
        """Delete what is gone, after the session has written its own."""
        gone, self._gone = self._gone, defaultdict(list)
        for model in sorted(gone, key=_dependency, reverse=True):
            session.connection().execute(_deletion(model, self._dialect), {"ids": sorted(gone[model])})

    def forget(self) -> None:
        """After a rollback."""
        self._new.clear()
        self._gone.clear()


def _attach(session: Session, rows: Sequence[Record]) -> None:
    """From here on the session writes what changes in them."""
    for row in rows:
        make_transient_to_detached(row)
    session.add_all(rows)


def _is_plain(row: Record) -> bool:
    """It has nothing but its columns, and collections with nothing in them."""
    return not any(
        getattr(row, name) for name, _ in relations.collections(type(row))
    ) and row.__dict__.keys() <= _names(type(row))


@cache
def _names(model: type[Record]) -> frozenset[str]:
    attributes = (name for name, _ in (*_columns(model), *relations.collections(model)))
    return frozenset(("_sa_instance_state", *attributes))


def _dependency(model: type[Record]) -> int:
    """Parents come before children."""
    return model.metadata.sorted_tables.index(cast("sa.Table", model.__table__))


def _arrays(model: type[Record], rows: Sequence[Record]) -> dict[str, list[Any]]:
    values = [row.__dict__ for row in rows]
    return {column: [value[name] for value in values] for name, column in _columns(model)}


@cache
def _columns(model: type[Record]) -> tuple[tuple[str, str], ...]:
    """The attributes, each with the name of its column."""
    return tuple((attribute.key, attribute.columns[0].key) for attribute in sa.inspect(model).column_attrs)


@cache
def _deletion(model: type[Record], dialect: Dialect) -> sa.Delete:
    return sa.delete(model).where(dialect.in_parameter(model.id, "ids")).execution_options(synchronize_session=False)
