"""Create, get, update, delete, list, count, exists: over a session and a model.

Nothing here commits, knows a message or an entity. What goes wrong is raised as a ``Problem`` before anything is
changed. Within a batch every function sees what the requests before it have done.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Record, columns, no_attribute, writable
from src.dialects import Dialect
from src.errors import Conflict, ForeignKey, NotFound, VersionMismatch
from src.json_values import same
from src.persistence import identity_map, relations, write_map
from src.persistence.chunked_reads import Selection
from src.persistence.identity_map import IdentityMap


async def create[M: Record](session: AsyncSession, model: type[M], **values: Any) -> M:
    """Add a row; ``id`` may be given. Raises Conflict where the id or a unique value is taken, and ForeignKey.

    Raises TypeError for a name that is no column and no collection of the model, as every function here does.
    """
    rows = write_map.of(session)
    _check_names(model, values, writable(model))
    if values.get("id") is None:
        values.pop("id", None)
    elif await rows.exists(model, values["id"]):
        raise Conflict(errors=[error("id", "is taken")])
    row = model(**values)
    await _check_parents(rows, row, values)
    await _check_uniques(rows, row, row.__dict__)
    await rows.add(row)
    return row


async def get[M: Record](session: AsyncSession, model: type[M], row_id: UUID, version: int | None = None) -> M:
    """The row, locked where the session writes. Raises NotFound, and VersionMismatch where it has another version."""
    return await _get(identity_map.of(session), model, row_id, version)


async def find[M: Record](session: AsyncSession, model: type[M], **unique: Any) -> M:
    """The row that has these values in the columns of a unique constraint. Raises NotFound."""
    rows = identity_map.of(session)
    _check_names(model, unique, columns(model))
    row_id = await rows.find(model, tuple(unique), tuple(unique.values()))
    if row_id is None:
        raise NotFound(f"There is no {model.__name__.lower()} with this {' and '.join(unique)}.")
    return await _get(rows, model, row_id)


async def update[M: Record](
    session: AsyncSession, model: type[M], row_id: UUID, changes: Mapping[str, Any], version: int | None = None
) -> M:
    """Change the attributes in ``changes``. Raises NotFound, VersionMismatch, Conflict and ForeignKey."""
    rows = write_map.of(session)
    _check_names(model, changes, writable(model))
    row = await _get(rows, model, row_id, version)
    changes = {name: value for name, value in changes.items() if not same(getattr(row, name), value)}
    await _check_parents(rows, row, changes)
    await _check_uniques(rows, row, changes)
    if any(changes.get(name) for name in relations.self_references(model)):
        await rows.write_new()
    for name, value in changes.items():
        setattr(row, name, value)
    return row


async def delete[M: Record](session: AsyncSession, model: type[M], row_id: UUID, version: int | None = None) -> M:
    """Delete the row and return it as it was. Raises NotFound and VersionMismatch."""
    rows = write_map.of(session)
    row = await _get(rows, model, row_id, version)
    await rows.remove(row)
    return row


async def list[M: Record](  # noqa: A001 - it is called as crud.list
    session: AsyncSession,
    model: type[M],
    where: Mapping[str, Any],
    order: Sequence[str] = ("-created_at", "id"),
    limit: int = 50,
    offset: int = 0,
) -> Sequence[M]:
    """The rows whose attributes equal ``where``, by the attributes in ``order`` (``-`` before a descending one).

    Raises ResultTooLarge as ``select`` does.
    """
    values = {f"where_{name}": value for name, value in where.items()} | {"limit": limit, "offset": offset}
    named = tuple((name, value is None) for name, value in where.items())
    rows = identity_map.of(session)
    return await rows.select(_listing(model, rows.dialect, named, tuple(order)), values)


async def select[M: Record](session: AsyncSession, model: type[M], statement: sa.Select[M]) -> Sequence[M]:
    """The rows of the model that a statement finds, locked where the session writes.

    Raises ResultTooLarge in a read, where the rows that it has selected hold more than an answer may.
    """
    return await identity_map.of(session).select(Selection.of(model, statement), {})


async def count(session: AsyncSession, model: type[Base], where: Mapping[str, Any]) -> int:
    """How many rows have attributes that equal ``where``."""
    statement = sa.select(sa.func.count()).select_from(model).where(*_equal(model, where))
    return (await session.scalars(statement)).one()


async def exists(session: AsyncSession, model: type[Base], where: Mapping[str, Any]) -> bool:
    """Whether any row has attributes that equal ``where``."""
    found = sa.select(model.id).where(*_equal(model, where)).exists()
    return (await session.scalars(sa.select(found))).one()


async def check_exist(session: AsyncSession, model: type[Base], ids: Collection[UUID], field: str) -> None:
    """Raise ForeignKey where one of the rows that ``field`` of the request names is not there."""
    rows = identity_map.of(session)
    await rows.load_parents(model, ids)
    for index, row_id in enumerate(ids):
        if not await rows.exists(model, row_id):
            raise ForeignKey(errors=[error(f"{field}/{index}", f"names no {model.__name__.lower()}")])


def error(field: str, message: str) -> dict[str, str]:
    """An entry of a problem's ``errors``: where in the body, and what is wrong there."""
    return {"pointer": f"/{field}", "message": message}


def _check_names(model: type[Base], names: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError for a name that is none of the known attributes."""
    for name in names:
        if name not in known:
            raise no_attribute(model, name)


async def _get[M: Record](rows: IdentityMap, model: type[M], row_id: UUID, version: int | None = None) -> M:
    row = await rows.get(model, row_id)
    if not isinstance(row, model):
        raise NotFound(f"There is no {model.__name__.lower()} with this id.")
    if version is not None and version != row.version:
        raise VersionMismatch
    return row


async def _check_parents(rows: IdentityMap, row: Record, values: Mapping[str, Any]) -> None:
    for name, parent in relations.parents(type(row)).items():
        value = values.get(name)
        if value is None or (parent is type(row) and value == row.id):
            continue
        if not await rows.exists(parent, value):
            raise ForeignKey(errors=[error(name, f"names no {parent.__name__.lower()}")])


async def _check_uniques(rows: IdentityMap, row: Record, changes: Mapping[str, Any]) -> None:
    """Raise Conflict where another row has a unique value that this one is to have."""
    changed = [names for names in relations.uniques(type(row)) if any(name in changes for name in names)]
    for names in changed:
        values = tuple(changes[name] if name in changes else getattr(row, name) for name in names)
        if await rows.find(type(row), names, values) not in (None, row.id):
            raise Conflict(errors=[error(name, "is taken") for name in names])


@lru_cache(1024)
def _listing[M: Record](
    model: type[M], dialect: Dialect, where: tuple[tuple[str, bool], ...], order: tuple[str, ...]
) -> Selection[M]:
    """Rows whose attributes in ``where`` equal a value, or are null; the values are parameters."""
    _check_names(model, [name for name, _ in where], columns(model))
    attributes = [(getattr(model, name), null) for name, null in where]
    equal = [
        attribute.is_(None) if null else attribute == sa.bindparam(f"where_{attribute.key}", type_=attribute.type)
        for attribute, null in attributes
    ]
    limit, offset = (sa.bindparam(name, type_=sa.BigInteger()) for name in ("limit", "offset"))
    statement = sa.select(model).where(*equal).order_by(*_ordered(model, dialect, order)).limit(limit).offset(offset)
    return Selection.of(model, statement)


def _equal(model: type[Base], where: Mapping[str, Any]) -> Sequence[sa.ColumnElement[bool]]:
    _check_names(model, where, columns(model))
    return [getattr(model, name) == value for name, value in where.items()]


def _ordered(model: type[Base], dialect: Dialect, order: Sequence[str]) -> Iterator[sa.ColumnElement[Any]]:
    """By each name once, and by id where nothing else tells two rows apart."""
    named: dict[str, tuple[bool, str]] = {}
    for each in (*order, "id"):
        name, _, nulls = each.removeprefix("-").partition(":")
        named.setdefault(name, (each.startswith("-"), nulls))
    _check_names(model, named, columns(model))
    for name, (descends, nulls) in named.items():
        column = getattr(model, name)
        directed = column.desc() if descends else column.asc()
        if not column.property.columns[0].nullable:
            yield directed
        else:
            yield from dialect.order_nulls(directed, first=nulls == "first" if nulls else descends)
