"""Reads in chunks, until the rows have more bytes than an answer may have.

A thousand rows may have a thousand bytes or a gigabyte. A statement returns the rows only where the database finds
that they are small together. Otherwise the sizes of the rows are queried first, and then the rows in chunks. The
database's sizes do not bound an answer (JSON writes 1e-100 in a hundred digits): loaded rows are measured as JSON.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from src import json_values
from src.base import Base, Record, columns
from src.dialects import Dialect
from src.errors import ResultTooLarge
from src.persistence import loading
from src.persistence.loading import FRESH, of_ids

CHUNK = 4 * 1024 * 1024
"""Bytes that are loaded at a time."""


@dataclass(frozen=True)
class Selection[M: Record]:
    """A statement in three forms: ``plain``; ``sized``, ids with sizes; ``small``, no rows unless small together."""

    model: type[M]
    plain: sa.Select[M]
    sized: sa.Select[UUID, int]
    small: sa.Select[M]

    @classmethod
    def of(cls, model: type[M], statement: sa.Select[M]) -> Self:
        """Derive the forms from a statement."""
        size = _size(model).label("size")
        sizes = statement.with_only_columns(size, maintain_column_froms=True).subquery()
        total = sa.select(sa.func.sum(sizes.c.size)).scalar_subquery()
        sized = statement.with_only_columns(model.id, size, maintain_column_froms=True)
        return cls(model, statement, sized, statement.where(total <= CHUNK))


class ChunkedReader:
    """The reads of one request, whose rows have at most ``max_answer`` bytes."""

    def __init__(self, session: AsyncSession, dialect: Dialect, max_answer: float) -> None:
        self._session = session
        self._dialect = dialect
        self._max_answer = max_answer
        self._bytes_read = 0

    async def select[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        """Return the selected rows. Raises ResultTooLarge."""
        small = await self._session.scalars(selection.small, values, execution_options=FRESH)
        return small.all() or await self._select_in_chunks(selection, values)

    async def _select_in_chunks[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        found: dict[UUID, M] = {}
        order = (await self._session.execute(selection.sized, values)).all()
        for ids in _chunks([(row_id, size) for row_id, size in order]):
            rows = await loading.rows(self._session, self._dialect, selection.model, ids, lock=False)
            found |= {row.id: row for row in rows}
            self._measure(selection.model, rows)
        return [found[row_id] for row_id, _ in order]

    def _measure(self, model: type[Record], rows: Sequence[Record]) -> None:
        names = _large_columns(model)
        for row in rows:
            self._bytes_read += sum(json_values.size(row.__dict__[name]) for name in names)
            if self._bytes_read > self._max_answer:
                raise ResultTooLarge


async def load[M: Record](
    session: AsyncSession, dialect: Dialect, model: type[M], ids: Collection[UUID]
) -> Sequence[M]:
    """Return the existing rows. Raises ResultTooLarge where they are not small together."""
    selection, values = _selection_of_ids(model, dialect), {"ids": sorted(ids)}
    found = (await session.scalars(selection.small, values, execution_options=FRESH)).all()
    if not found and (await session.execute(selection.sized, values)).first():
        raise ResultTooLarge
    return found


def _chunks(sized: Sequence[tuple[UUID, int]]) -> Iterator[list[UUID]]:
    """Yield the ids in chunks of rows that are small together, or of one row."""
    chunk: list[UUID] = []
    total = 0
    for row_id, size in sized:
        if chunk and total + size > CHUNK:
            yield chunk
            chunk, total = [], 0
        chunk.append(row_id)
        total += size
    if chunk:
        yield chunk


@cache
def _selection_of_ids[M: Record](model: type[M], dialect: Dialect) -> Selection[M]:
    return Selection.of(model, of_ids(model, dialect, lock=False))


@cache
def _large_columns(model: type[Base]) -> tuple[str, ...]:
    """Return the columns that may hold megabytes."""
    kinds = {name: getattr(model, name).type for name in columns(model)}
    return tuple(
        name
        for name, kind in kinds.items()
        if isinstance(kind, (sa.JSON, sa.LargeBinary, sa.String)) and not isinstance(kind, sa.Enum)
    )


@cache
def _size(model: type[Base]) -> sa.ColumnElement[int]:
    """Return the bytes of a row's text and JSON as an SQL expression."""
    sizes: list[Any] = [sa.literal(0)]
    for name in _large_columns(model):
        column: Any = getattr(model, name)
        text = sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column
        sizes.append(sa.func.coalesce(sa.func.octet_length(text), 0))
    total: sa.ColumnElement[int] = sum(sizes[1:], sizes[0])
    return total
