"""Rows that are read to be answered, in pieces, until they are more than an answer may hold.

A thousand rows may be a thousand bytes or a gigabyte. A statement gives them only where the database finds them small
together. Else it is asked how large each row is, and for some at a time. Its sizes are no measure of an answer (it
writes 1e-100 in a hundred digits): what has been read so is measured as JSON.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self
from uuid import UUID

import pydantic_core
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Record, columns
from src.dialects import Dialect
from src.errors import ResultTooLarge
from src.persistence.loading import FRESH, Loader, of_ids

PIECE = 4 * 1024 * 1024
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class Selection[M: Record]:
    """A statement that finds rows: these with their sizes, and all of them where they are small together, else none."""

    model: type[M]
    plain: sa.Select[M]
    sized: sa.Select[UUID, int]
    small: sa.Select[M]

    @classmethod
    def of(cls, model: type[M], statement: sa.Select[M]) -> Self:
        """What is made of the statement."""
        size = _size(model).label("size")
        sizes = statement.with_only_columns(size, maintain_column_froms=True).subquery()
        total = sa.select(sa.func.sum(sizes.c.size)).scalar_subquery()
        sized = statement.with_only_columns(model.id, size, maintain_column_froms=True)
        return cls(model, statement, sized, statement.where(total <= PIECE))


class ChunkedReader:
    """What one request reads; ``limit`` is in bytes."""

    def __init__(self, session: AsyncSession, loads: Loader, limit: float) -> None:
        self._session = session
        self._loads = loads
        self._limit = limit
        self._read = 0

    def begin(self) -> None:
        """A request begins: nothing is read yet."""
        self._read = 0

    async def selected[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        """The rows that are selected. Raises ResultTooLarge."""
        small = await self._session.scalars(selection.small, values, execution_options=FRESH)
        return small.all() or await self._in_pieces(selection, values)

    async def named[M: Record](self, model: type[M], ids: Collection[UUID]) -> Sequence[M]:
        """Those of the rows that are there. Raises ResultTooLarge where several are not small together."""
        if len(ids) == 1:
            return await self._loads.rows(model, ids)
        selection, values = _named(model, self._loads.dialect), {"ids": sorted(ids)}
        found = (await self._session.scalars(selection.small, values, execution_options=FRESH)).all()
        if not found and (await self._session.execute(selection.sized, values)).first():
            raise ResultTooLarge
        return found

    async def _in_pieces[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        found: dict[UUID, M] = {}
        order = (await self._session.execute(selection.sized, values)).all()
        for ids in _cut([(row_id, size) for row_id, size in order]):
            rows = await self._loads.rows(selection.model, ids)
            found |= {row.id: row for row in rows}
            self._measure(selection.model, rows)
        return [found[row_id] for row_id, _ in order]

    def _measure(self, model: type[Record], rows: Sequence[Record]) -> None:
        names = _long(model)
        for row in rows:
            self._read += sum(len(pydantic_core.to_json(row.__dict__[name])) for name in names)
            if self._read > self._limit:
                raise ResultTooLarge


def _cut(sized: Sequence[tuple[UUID, int]]) -> Iterator[list[UUID]]:
    """The ids in pieces, each of rows that are small together, or of one row."""
    piece: list[UUID] = []
    total = 0
    for row_id, size in sized:
        if piece and total + size > PIECE:
            yield piece
            piece, total = [], 0
        piece.append(row_id)
        total += size
    if piece:
        yield piece


@cache
def _named[M: Record](model: type[M], dialect: Dialect) -> Selection[M]:
    return Selection.of(model, of_ids(model, dialect, lock=False))


@cache
def _long(model: type[Base]) -> tuple[str, ...]:
    """The columns that a row may have megabytes in."""
    kinds = {name: getattr(model, name).type for name in columns(model)}
    return tuple(
        name
        for name, kind in kinds.items()
        if isinstance(kind, (sa.JSON, sa.LargeBinary, sa.String)) and not isinstance(kind, sa.Enum)
    )


@cache
def _size(model: type[Base]) -> sa.ColumnElement[int]:
    """About how many bytes a row has: exactly that many characters of text and JSON."""
    sizes: list[Any] = [sa.literal(0)]
    for name in _long(model):
        column: Any = getattr(model, name)
        text = sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column
        sizes.append(sa.func.coalesce(sa.func.octet_length(text), 0))
    total: sa.ColumnElement[int] = sum(sizes[1:], sizes[0])
    return total
