"""Bulk statements for the rows that a batch has added and deleted: one statement a table.

A new row that has only columns needs no unit of work: it stays pending until something is asked of the session, and is
then inserted with all others of its table. A row with more than columns is inserted by the ORM, together with the
other rows of its flush, so that parents precede children. The deletion of a row that no other row refers to waits for
the flush as well.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, make_transient_to_detached

from src.base import Record
from src.dialects import Dialect
from src.persistence import relations


@dataclass(eq=False)
class BulkWriter:
    """The rows that are pending for one session: ``new`` rows, and the ids of ``deleted`` rows."""

    dialect: Dialect
    new: dict[Record, None] = field(default_factory=dict)
    deleted: dict[type[Record], list[UUID]] = field(default_factory=dict)
    last: bool = False
    """Whether the next flush is the last use of the session, which then need not track the inserted rows."""

    def add(self, row: Record) -> None:
        """Insert the row with the next flush."""
        self.new[row] = None

    def discard(self, row: Record) -> bool:
        """Do not insert the row. Return whether it was pending."""
        pending = row in self.new
        self.new.pop(row, None)
        return pending

    def delete_later(self, row: Record) -> None:
        """Delete the row with the next flush."""
        self.deleted.setdefault(type(row), []).append(row.id)

    def insert(self, session: Session) -> None:
        """Insert the new rows, before the session writes its own."""
        new, self.new = [*self.new], {}
        if session.new or not all(map(_has_columns_only, new)):
            session.add_all(new)
            return
        tables: defaultdict[type[Record], list[Record]] = defaultdict(list)
        for row in new:
            tables[type(row)].append(row)
        connection = session.connection()
        for model in sorted(tables, key=_dependency_order):
            values = [row.__dict__ for row in tables[model]]
            arrays = {column: [value[name] for value in values] for name, column in _columns(model)}
            connection.execute(*self.dialect.insert_statement(cast("sa.Table", model.__table__), arrays))
        if not self.last:
            for row in new:
                make_transient_to_detached(row)
            session.add_all(new)  # from now on the session tracks their changes

    def delete(self, session: Session) -> None:
        """Delete the rows, after the session has written its own."""
        deleted, self.deleted = self.deleted, {}
        for model in sorted(deleted, key=_dependency_order, reverse=True):
            session.connection().execute(_deletion(model, self.dialect), {"ids": sorted(deleted[model])})

    def clear(self) -> None:
        """Discard what is pending, after a rollback."""
        self.new.clear()
        self.deleted.clear()


def _has_columns_only(row: Record) -> bool:
    """Return whether all that is set on the row are columns and empty collections."""
    return not any(
        getattr(row, name) for name, _ in relations.collections(type(row))
    ) and row.__dict__.keys() <= _names(type(row))


@cache
def _names(model: type[Record]) -> frozenset[str]:
    attributes = (name for name, _ in (*_columns(model), *relations.collections(model)))
    return frozenset(("_sa_instance_state", *attributes))


def _dependency_order(model: type[Record]) -> int:
    """Return the table's place in an order in which parents precede children."""
    return model.metadata.sorted_tables.index(cast("sa.Table", model.__table__))


@cache
def _columns(model: type[Record]) -> tuple[tuple[str, str], ...]:
    """Return the attributes with the names of their columns."""
    return tuple((attribute.key, attribute.columns[0].key) for attribute in sa.inspect(model).column_attrs)


@cache
def _deletion(model: type[Record], dialect: Dialect) -> sa.Delete:
    return sa.delete(model).where(dialect.in_parameter(model.id, "ids")).execution_options(synchronize_session=False)
