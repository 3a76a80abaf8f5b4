"""The statements by which the rows of a batch are loaded, and locked where the session writes.

Rows that may be changed are locked ``FOR NO KEY UPDATE`` and those referred to ``FOR KEY SHARE``: the two do not wait
for each other, so that a child can be added to a row that another partition changes. Nothing is flushed before a load
by id or unique value: ``rows`` knows what the session has still to write.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Record
from src.dialects import Dialect

FRESH = {"populate_existing": True}  # what the session has of a row gives way to what the database has


class Loader:
    """The loads of one session; with ``lock`` they lock."""

    def __init__(self, session: AsyncSession, dialect: Dialect, *, lock: bool) -> None:
        self._session = session
        self.dialect = dialect
        self._lock = lock

    async def rows[M: Record](self, model: type[M], ids: Collection[UUID]) -> Sequence[M]:
        """Those of the rows that are there, in the order of their ids."""
        statement = of_ids(model, self.dialect, lock=self._lock)
        with self._session.no_autoflush:
            found = await self._session.scalars(statement, {"ids": sorted(ids)}, execution_options=FRESH)
        return found.all()

    async def selected[M: Record](self, statement: Select[M], values: Mapping[str, Any]) -> Sequence[M]:
        """The rows that a statement finds, locked."""
        locked = statement.with_for_update(key_share=True)
        return (await self._session.scalars(locked, values, execution_options=FRESH)).all()

    async def ids(self, model: type[Base], ids: Collection[UUID]) -> set[UUID]:
        """Those of the ids that a row has, which nobody deletes before the transaction ends."""
        connection = await self._session.connection()
        return set(await connection.scalars(_ids(model, self.dialect, lock=self._lock), {"ids": sorted(ids)}))

    async def owners(
        self, model: type[Base], names: Sequence[str], values: Collection[tuple[Any, ...]]
    ) -> dict[tuple[Any, ...], UUID]:
        """The ids of the rows that have these values in the columns of a unique constraint."""
        attributes = [getattr(model, name) for name in names]
        statement = select(model.id, *attributes).where(tuple_(*attributes).in_(_padded(sorted(values))))
        with self._session.no_autoflush:
            return {tuple(value): row_id for row_id, *value in await self._session.execute(statement)}


@cache
def of_ids[M: Record](model: type[M], dialect: Dialect, *, lock: bool) -> Select[M]:
    """The rows of the model whose ids are in the parameter ``ids``."""
    statement = select(model).where(dialect.in_parameter(model.id, "ids")).order_by(model.id)
    return statement.with_for_update(key_share=True) if lock else statement


def versions(
    connection: Connection, model: type[Record], dialect: Dialect, ids: Collection[UUID]
) -> Mapping[UUID, int]:
    """Those that the rows of the model have, which nobody changes before the transaction ends."""
    statement = select(model.id, model.version).where(dialect.in_parameter(model.id, "ids")).order_by(model.id)
    found = connection.execute(statement.with_for_update(key_share=True), {"ids": sorted(ids)})
    return {row_id: version for row_id, version in found}  # noqa: C416 - a row is no pair


@cache
def _ids(model: type[Base], dialect: Dialect, *, lock: bool) -> Select[UUID]:
    column = model.__table__.c.id
    statement = select(column).where(dialect.in_parameter(column, "ids")).order_by(column)
    return statement.with_for_update(key_share=True, read=True) if lock else statement


def _padded[T](values: Sequence[T]) -> list[T]:
    """Padded to a power of two: a few statements to prepare, not one for each length."""
    size = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (size - len(values))]
