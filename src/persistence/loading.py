"""The queries that load and lock the rows of a batch.

Rows that may be changed are locked ``FOR NO KEY UPDATE`` and rows referred to ``FOR KEY SHARE``. These two locks do
not conflict, so that a child can be added to a row that another partition changes. A query by id or unique value
flushes nothing: the identity map knows what the session has still to write.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, tuple_
from sqlalchemy import select as sa_select
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Record
from src.dialects import Dialect

FRESH = {"populate_existing": True}  # the database's values replace those in the session


async def rows[M: Record](
    session: AsyncSession, dialect: Dialect, model: type[M], ids: Collection[UUID], *, lock: bool
) -> Sequence[M]:
    """Return the existing rows, ordered by id."""
    with session.no_autoflush:
        found = await session.scalars(of_ids(model, dialect, lock=lock), {"ids": sorted(ids)}, execution_options=FRESH)
    return found.all()


async def select[M: Record](session: AsyncSession, statement: Select[M], values: Mapping[str, Any]) -> Sequence[M]:
    """Return the rows that a statement selects, locked."""
    locked = statement.with_for_update(key_share=True)
    return (await session.scalars(locked, values, execution_options=FRESH)).all()


async def ids(
    session: AsyncSession, dialect: Dialect, model: type[Base], wanted: Collection[UUID], *, lock: bool
) -> set[UUID]:
    """Return the ids that a row has; with ``lock`` these rows cannot be deleted before the transaction ends."""
    connection = await session.connection()
    return set(await connection.scalars(_ids(model, dialect, lock=lock), {"ids": sorted(wanted)}))


async def owners(
    session: AsyncSession, model: type[Base], names: Sequence[str], values: Collection[tuple[Any, ...]]
) -> dict[tuple[Any, ...], UUID]:
    """Return the ids of the rows that have these values in the columns of a unique constraint."""
    attributes = [getattr(model, name) for name in names]
    statement = sa_select(model.id, *attributes).where(tuple_(*attributes).in_(_padded(sorted(values))))
    with session.no_autoflush:
        return {tuple(value): row_id for row_id, *value in await session.execute(statement)}


@cache
def of_ids[M: Record](model: type[M], dialect: Dialect, *, lock: bool) -> Select[M]:
    """Return the query of the rows whose ids are in the parameter ``ids``."""
    statement = sa_select(model).where(dialect.in_parameter(model.id, "ids")).order_by(model.id)
    return statement.with_for_update(key_share=True) if lock else statement


def versions(
    connection: Connection, model: type[Record], dialect: Dialect, ids: Collection[UUID]
) -> Mapping[UUID, int]:
    """Return the versions of rows, which are locked until the transaction ends."""
    statement = sa_select(model.id, model.version).where(dialect.in_parameter(model.id, "ids")).order_by(model.id)
    found = connection.execute(statement.with_for_update(key_share=True), {"ids": sorted(ids)})
    return {row_id: version for row_id, version in found}  # noqa: C416 - a row is no pair


@cache
def _ids(model: type[Base], dialect: Dialect, *, lock: bool) -> Select[UUID]:
    column = model.__table__.c.id
    statement = sa_select(column).where(dialect.in_parameter(column, "ids")).order_by(column)
    return statement.with_for_update(key_share=True, read=True) if lock else statement


def _padded[T](values: Sequence[T]) -> list[T]:
    """Pad the list to a power of two: few lengths mean few prepared statements."""
    size = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (size - len(values))]
