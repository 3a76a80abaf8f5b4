"""Entity and Operation: what an entity file declares.

An entity has the operations create, update, delete, get, list, count and exists by being there, as far as it has the
schemas for them, and those of its own that ``command`` (a write) and ``query`` (a read) register::

    entity = Entity(Query, create=CreateQuery, update=UpdateQuery, read=ReadQuery)

    @entity.command("complete", emits="completed")
    async def complete(session: AsyncSession, request: CompleteQuery) -> Query: ...
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_type_hints

import pydantic_core
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Base, Id, ReadSchema, Record, RowRef, Schema, columns
from src.errors import ResultTooLarge
from src.operations import column_limits, common
from src.persistence import identity_map, relations

type Handler = Callable[[AsyncSession, Any], Awaitable[Any]]
type Decorator = Callable[[Handler], Handler]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of an entity, spoken to as ``<entity>.<name>``. ``emits`` is what a write's event says happened."""

    entity: "Entity"
    name: str
    handler: Handler
    request: type[Schema]
    writes: bool
    emits: str | None = None
    common_get: bool = False

    @cached_property
    def loads_only(self) -> bool:
        """It answers with the row that it names, which one statement loads."""
        return self.common_get and not relations.collections(self.entity.model)

    @cached_property
    def key(self) -> str:
        """The routing key of its requests."""
        return f"{self.entity.name}.{self.name}"

    @cached_property
    def event(self) -> str | None:
        """The routing key of its event."""
        return self.emits and f"{self.entity.name}.{self.emits}"

    @cached_property
    def names_rows(self) -> bool:
        """Its requests say by id or unique value which rows they are about."""
        return self._names.id or bool(self._names.uniques)

    def want(self, wanted: identity_map.LoadPlan, data: BaseModel) -> None:
        """Note which rows a request names, so that a batch loads them together."""
        names = self._names
        if names.id and (row_id := data.__dict__["id"]) is not None:
            wanted.rows[self.entity.model].add(row_id)
        for name, parent in names.parents.items():
            if (parent_id := data.__dict__[name]) is not None:
                wanted.parents[parent].add(parent_id)
        for name in names.peers:
            if (peer_id := data.__dict__[name]) is not None:
                wanted.rows[self.entity.model].add(peer_id)
        for unique in names.uniques:
            values = tuple(data.__dict__[name] for name in unique)
            if None not in values:
                wanted.uniques[self.entity.model, unique].add(values)

    @cached_property
    def _names(self) -> "_Names":
        fields, model = self.request.model_fields, self.entity.model
        references = [(name, parent) for name, parent in relations.parents(model).items() if name in fields]
        return _Names(
            id="id" in fields,
            parents={name: parent for name, parent in references if parent is not model and self.writes},
            peers=tuple(name for name in relations.peers(model) if name in fields),
            uniques=tuple(unique for unique in relations.uniques(model) if all(name in fields for name in unique)),
        )


@dataclass(frozen=True)
class _Names:
    """Which of a request's fields name rows; ``peers`` are rows of the entity itself."""

    id: bool
    parents: dict[str, type[Base]]
    peers: tuple[str, ...]
    uniques: tuple[tuple[str, ...], ...]


@dataclass(eq=False)
class Entity:
    """A table and what can be said of it on the wire. Without ``create`` or ``update`` it has no such operation."""

    model: type[Record]
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
        """Every operation of the entity; one of its own takes the place of the common one of its name."""
        return [*{operation.name: operation for operation in (*self._writes(), *self._reads(), *self.own)}.values()]

    def answer(self, result: Any, limit: int) -> bytes:
        """What a read returned, as ``serialised``. Raises ResultTooLarge beyond so many bytes."""
        body = self.serialised(result)
        if len(body) > limit:
            raise ResultTooLarge
        return body

    def serialised(self, result: Any) -> bytes:
        """What a handler returned, as JSON: rows as the Read schema has them."""
        return pydantic_core.to_json(self._readable(result), by_alias=True)

    def _readable(self, result: Any) -> Any:
        match result:
            case Record():
                return self.read.model_validate(result.__dict__ if self._is_plain else result)
            case list() | tuple():
                return {"items": [self._readable(item) for item in result], "next": None}
            case _:
                return result

    @cached_property
    def _is_plain(self) -> bool:
        """The Read schema has nothing but columns, which are cheaper to take together than one by one."""
        return issubclass(self.read, ReadSchema) and self.read.model_fields.keys() <= {*columns(self.model)}

    def _register(self, name: str, *, writes: bool, emits: str | None = None) -> Decorator:
        def register(handler: Handler) -> Handler:
            request = column_limits.bounded(self.model, get_type_hints(handler)["request"])
            self.own.append(Operation(self, name, handler, request, writes=writes, emits=emits))
            return handler

        return register

    def _writes(self) -> Iterator[Operation]:
        if self.create:
            yield self._common("create", common.create, common.creating(self.model, self.create), emits="created")
        if self.update:
            yield self._common("update", common.update, common.updating(self.model, self.update), emits="updated")
        if self.delete:
            yield self._common("delete", common.delete, RowRef, emits="deleted")

    def _reads(self) -> Iterator[Operation]:
        counting = common.counting(self.model, self.read)
        yield replace(self._common("get", common.get, Id), common_get=True)
        yield self._common("list", self._page, common.listing(self.model, self.read))
        yield self._common("count", common.count, counting)
        yield self._common("exists", common.exists, counting)

    def _common(
        self,
        name: str,
        run: Callable[[AsyncSession, type[Record], Any], Awaitable[Any]],
        request: type[Schema],
        emits: str | None = None,
    ) -> Operation:
        """An operation that every entity has; what it runs is told the model as well."""

        async def handler(session: AsyncSession, data: Any) -> Any:
            return await run(session, self.model, data)

        handler.__doc__ = run.__doc__
        return Operation(self, name, handler, request, writes=emits is not None, emits=emits)

    async def _page(self, session: AsyncSession, model: type[Record], request: Any) -> dict[str, Any]:
        """Those that fit, a page at a time."""
        found, following = await common.page(session, model, request)
        return {"items": [self._readable(row) for row in found], "next": following}
