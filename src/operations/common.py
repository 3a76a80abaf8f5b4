"""The operations that every entity has: what they ask for, and what they do, over a session, a request and a model."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import sqlalchemy as sa
from pydantic import Field, create_model
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud
from src.base import Record, RowRef, Schema, columns
from src.operations import column_limits


def creating(model: type[Record], schema: type[Schema]) -> type[Schema]:
    """The Create schema, with an id that the client may choose. An id that the schema declares stays as it is."""
    chosen = {} if "id" in schema.model_fields else {"id": (UUID | None, None)}
    return column_limits.bounded(model, _schema(schema.__name__, schema, **chosen))


def updating(model: type[Record], schema: type[Schema]) -> type[Schema]:
    """The Update schema, flat with the id and the version of the row that it names."""
    bases = (schema,) if issubclass(schema, RowRef) else (schema, RowRef)
    return column_limits.bounded(model, _schema(schema.__name__, *bases))


REQUESTS = {"create": creating, "update": updating}
"""How the request of an operation of this name follows from the entity's schema."""


def counting(model: type[Record], read: type[Schema]) -> type[Schema]:
    """``where``: equality with any column but JSON; null is a value to be equal to."""
    fields = {name: (kind | None, None) for name, kind in _comparable(model, read).items()}
    where = column_limits.bounded(model, _schema(f"Where{model.__name__}", Schema, **fields))
    return _schema(f"Count{model.__name__}", Schema, where=(where, where()))


def listing(model: type[Record], read: type[Schema]) -> type[Schema]:
    """``where``, ``order`` and a page.

    ``order`` has up to eight of the comparable columns, ``-`` before one that descends; behind one that may be null
    ``:first`` or ``:last`` says where nulls come: else last, and first where it descends.
    """
    names: Any = Literal[tuple(_orders(model, read))]
    return _schema(
        f"List{model.__name__}",
        counting(model, read),
        order=(Annotated[list[names], Field(max_length=8)], ["-created_at", "id"]),
        limit=(Annotated[int, Field(ge=1, le=1000)], 50),
        offset=(Annotated[int, Field(ge=0, le=2**62)], 0),
    )


async def create(session: AsyncSession, request: Any, *, model: type[Record]) -> Record:
    """Make one; its id may be chosen."""
    return await crud.create(session, model, **request.__dict__)


async def update(session: AsyncSession, request: Any, *, model: type[Record]) -> Record:
    """Change the fields that are given."""
    changes = {name: request.__dict__[name] for name in request.model_fields_set - {"id", "version"}}
    return await crud.update(session, model, request.id, changes, request.version)


async def delete(session: AsyncSession, request: Any, *, model: type[Record]) -> Record:
    """Delete one, and answer with it as it was."""
    return await crud.delete(session, model, request.id, request.version)


async def get(session: AsyncSession, request: Any, *, model: type[Record]) -> Record:
    """The one that has this id."""
    return await crud.get(session, model, request.id)


async def page(session: AsyncSession, request: Any, *, model: type[Record]) -> tuple[Sequence[Record], int | None]:
    """The rows of one page, and the offset of the next, None after the last."""
    found = await crud.list(
        session, model, _given(request), request.order, limit=request.limit + 1, offset=request.offset
    )
    more = len(found) > request.limit
    return found[: request.limit], request.offset + request.limit if more else None


async def count(session: AsyncSession, request: Any, *, model: type[Record]) -> dict[str, int]:
    """How many fit."""
    return {"count": await crud.count(session, model, _given(request))}


async def exists(session: AsyncSession, request: Any, *, model: type[Record]) -> dict[str, bool]:
    """Whether one fits."""
    return {"exists": await crud.exists(session, model, _given(request))}


def _comparable(model: type[Record], read: type[Schema]) -> dict[str, Any]:
    """The columns that a requester sees and can compare with, each with its type."""
    fields = {name: field.annotation for name, field in read.model_fields.items()}
    kinds = {name: getattr(model, name).type for name in columns(model) if name in fields}
    return {name: fields[name] for name, kind in kinds.items() if not isinstance(kind, sa.JSON)}


def _orders(model: type[Record], read: type[Schema]) -> Iterator[str]:
    for name in _comparable(model, read):
        nulls = ("", ":first", ":last") if inspect(model).columns[name].nullable else ("",)
        yield from (f"{sign}{name}{where}" for sign in ("", "-") for where in nulls)


def _schema(name: str, /, *bases: type[Schema], **fields: Any) -> type[Schema]:
    return cast("type[Schema]", create_model(name, __base__=bases, **fields))


def _given(request: Any) -> dict[str, Any]:
    return {name: request.where.__dict__[name] for name in request.where.model_fields_set}
