"""Entity and Operation: what an entity file declares.

An entity has the operations create, update, delete, get, list, count and exists by being there, as far as it has the
schemas for them, and those of its own that ``command`` (a write) and ``query`` (a read) register::

    entity = Entity(Query, create=CreateQuery, update=UpdateQuery, read=ReadQuery)

    @entity.command("complete", emits="completed")
    async def complete(session: AsyncSession, request: CompleteQuery) -> Query: ...
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, cast, get_type_hints
from uuid import UUID

import pydantic_core
import sqlalchemy as sa
from pydantic import Field, create_model
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud, rows
from src.base import Base, Schema, columns
from src.errors import ResultTooLarge

type Handler = Callable[[AsyncSession, Any], Awaitable[Any]]
type Decorator = Callable[[Handler], Handler]

Version = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Id(Schema):
    """Names a row."""

    id: UUID


class Change(Id):
    """Names a row to be changed, and the version it must have, if any."""

    version: Version | None = None


@dataclass(frozen=True)
class Operation:
    """One operation of an entity, spoken to as ``<entity>.<name>``. ``emits`` is what a write's event says happened."""

    entity: "Entity"
    name: str
    handler: Handler
    request: type[Schema]
    writes: bool
    emits: str | None = None

    @property
    def key(self) -> str:
        """The routing key of its requests."""
        return f"{self.entity.name}.{self.name}"

    @property
    def event(self) -> str | None:
        """The routing key of its event."""
        return self.emits and f"{self.entity.name}.{self.emits}"

    @property
    def names_rows(self) -> bool:
        """Its requests say by id or unique value which rows they are about."""
        return self._names.id or bool(self._names.uniques)

    def want(self, wanted: rows.Wanted, data: Schema) -> None:
        """Note which rows a request names, so that a batch loads them together."""
        names = self._names
        if names.id and (row_id := data.__dict__["id"]) is not None:
            wanted.rows[self.entity.model].add(row_id)
        for name, parent in names.parents.items():
            if (value := data.__dict__[name]) is not None:
                wanted.parents[parent].add(value)
        for unique in names.uniques:
            values = tuple(data.__dict__[name] for name in unique)
            if None not in values:
                wanted.uniques[self.entity.model, unique].add(values)

    @cached_property
    def _names(self) -> "_Names":
        fields, keys = self.request.model_fields, rows.keys(self.entity.model)
        return _Names(
            id="id" in fields,
            parents={name: parent for name, parent in keys.parents.items() if name in fields},
            uniques=tuple(unique for unique in keys.uniques if all(name in fields for name in unique)),
        )


@dataclass(frozen=True)
class _Names:
    """Which of a request's fields name rows."""

    id: bool
    parents: dict[str, type[Base]]
    uniques: tuple[tuple[str, ...], ...]


@dataclass(eq=False)
class Entity:
    """A table and what can be said of it on the wire. Without ``create`` or ``update`` it has no such operation."""

    model: type[Base]
    read: type[Schema]
    create: type[Schema] | None = None
    update: type[Schema] | None = None
    delete: bool = True
    name: str = ""
    own: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.name or self.model.__name__.lower()

    def command(self, name: str, *, emits: str) -> Decorator:
        """Register a write. Its request is the schema that the handler's parameter ``request`` is annotated with."""
        return self._register(name, writes=True, emits=emits)

    def query(self, name: str) -> Decorator:
        """Register a read. It may answer with a row, a schema, or a list of either."""
        return self._register(name, writes=False)

    def operations(self) -> list[Operation]:
        """Every operation of the entity."""
        return [*self._writes(), *self._reads(), *self.own]

    def answer(self, result: Any, limit: int) -> bytes:
        """What a handler returned, as JSON: rows as the Read schema has them. Raises ResultTooLarge, in bytes."""
        body = pydantic_core.to_json(self._readable(result), by_alias=True)
        if len(body) > limit:
            raise ResultTooLarge
        return body

    def _readable(self, result: Any) -> Any:
        match result:
            case Base():
                return self.read.model_validate(result)
            case list() | tuple():
                return {"items": [self._readable(item) for item in result], "next": None}
            case _:
                return result

    def _register(self, name: str, *, writes: bool, emits: str | None = None) -> Decorator:
        def register(handler: Handler) -> Handler:
            request = get_type_hints(handler)["request"]
            self.own.append(Operation(self, name, handler, request, writes=writes, emits=emits))
            return handler

        return register

    def _writes(self) -> Iterator[Operation]:
        if self.create:
            creating = _schema(self.create.__name__, self.create, id=(UUID | None, None))
            yield Operation(self, "create", self._create, creating, writes=True, emits="created")
        if self.update:
            updating = _schema(self.update.__name__, self.update, Change)
            yield Operation(self, "update", self._update, updating, writes=True, emits="updated")
        if self.delete:
            yield Operation(self, "delete", self._delete, Change, writes=True, emits="deleted")

    def _reads(self) -> Iterator[Operation]:
        where = self._where()
        counted = _schema(f"Count{self.model.__name__}", Schema, where=(where, where()))
        ordered = _schema(
            f"List{self.model.__name__}",
            counted,
            order=(self._order(), ["-created_at", "id"]),
            limit=(Annotated[int, Field(ge=1, le=1000)], 50),
            offset=(Annotated[int, Field(ge=0, le=2**62)], 0),
        )
        yield Operation(self, "get", self._get, Id, writes=False)
        yield Operation(self, "list", self._list, ordered, writes=False)
        yield Operation(self, "count", self._count, counted, writes=False)
        yield Operation(self, "exists", self._exists, counted, writes=False)

    def _where(self) -> type[Schema]:
        """Equality with any column but JSON; null is a value to be equal to."""
        fields = {name: (kind | None, None) for name, kind in self._comparable().items()}
        return _schema(f"Where{self.model.__name__}", Schema, **fields)

    def _order(self) -> Any:
        """Up to eight of the comparable columns, ``-`` before one that descends."""
        names: Any = Literal[tuple(sign + name for name in self._comparable() for sign in ("", "-"))]
        return Annotated[list[names], Field(max_length=8)]

    def _comparable(self) -> dict[str, Any]:
        fields = {name: field.annotation for name, field in self.read.model_fields.items()}
        kinds = {name: getattr(self.model, name).type for name in columns(self.model) if name in fields}
        return {name: fields[name] for name, kind in kinds.items() if not isinstance(kind, sa.JSON)}

    async def _create(self, session: AsyncSession, request: Any) -> Base:
        return await crud.create(session, self.model, **request.__dict__)

    async def _update(self, session: AsyncSession, request: Any) -> Base:
        changes = {name: request.__dict__[name] for name in request.model_fields_set - {"id", "version"}}
        return await crud.update(session, self.model, request.id, changes, request.version)

    async def _delete(self, session: AsyncSession, request: Any) -> Base:
        return await crud.delete(session, self.model, request.id, request.version)

    async def _get(self, session: AsyncSession, request: Any) -> Base:
        return await crud.get(session, self.model, request.id)

    async def _list(self, session: AsyncSession, request: Any) -> dict[str, Any]:
        found = await crud.list(
            session, self.model, _given(request), request.order, limit=request.limit + 1, offset=request.offset
        )
        items = [self._readable(row) for row in found[: request.limit]]
        return {"items": items, "next": request.offset + request.limit if len(found) > request.limit else None}

    async def _count(self, session: AsyncSession, request: Any) -> dict[str, int]:
        return {"count": await crud.count(session, self.model, _given(request))}

    async def _exists(self, session: AsyncSession, request: Any) -> dict[str, bool]:
        return {"exists": await crud.exists(session, self.model, _given(request))}


def _schema(name: str, /, *bases: type[Schema], **fields: Any) -> type[Schema]:
    return cast("type[Schema]", create_model(name, __base__=bases, **fields))


def _given(request: Any) -> dict[str, Any]:
    return {name: request.where.__dict__[name] for name in request.where.model_fields_set}
