"""Entity and Operation: what an entity file declares.

An entity has the operations create, update, delete, get, list, count and exists by being there, as far as it has the
schemas for them, and those of its own that ``command`` (a write) and ``query`` (a read) register::

    entity = Entity(Query, create=CreateQuery, update=UpdateQuery, read=ReadQuery)

    @entity.command("complete", emits="completed", raises=(IllegalTransition,))
    async def complete(session: AsyncSession, request: CompleteQuery) -> Query: ...

An operation of its own takes the place of the common operation of its name.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, get_type_hints

import pydantic_core
from sqlalchemy.ext.asyncio import AsyncSession

from src import wire
from src.base import Id, ReadSchema, Record, RowRef, Schema, columns
from src.errors import Problem, ResultTooLarge
from src.operations import column_limits, common
from src.operations.row_names import RowNames
from src.persistence import relations

type Handler = Callable[[AsyncSession, Any], Awaitable[Any]]
type Decorator = Callable[[Handler], Handler]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of an entity, requested as ``<entity>.<name>``.

    ``emits`` is the past tense that names the event of a write; a write with None publishes no event. ``raises`` are
    the problems that the handler declares. ``common`` marks an operation that every entity has.
    """

    entity: "Entity"
    name: str
    handler: Handler
    request: type[Schema]
    writes: bool
    emits: str | None = None
    raises: tuple[type[Problem], ...] = ()
    common: bool = False

    @cached_property
    def loads_only(self) -> bool:
        """Whether it answers with the row that the request names, which one statement loads."""
        return self.common and self.name == "get" and not relations.collections(self.entity.model)

    @cached_property
    def key(self) -> str:
        """The routing key of its requests."""
        return f"{self.entity.name}.{self.name}"

    @cached_property
    def event(self) -> str | None:
        """The routing key of the event of a change, or None where it publishes no event."""
        return f"{self.entity.name}.{self.emits}" if self.emits and self.entity.events else None

    @cached_property
    def failed_event(self) -> str | None:
        """The routing key of the event of a final problem; only an operation with an event has one."""
        return wire.failed_event(self.key) if self.event else None

    @cached_property
    def row_names(self) -> RowNames:
        """The fields of its requests that name rows."""
        return RowNames.of(self.entity.model, self.request, writes=self.writes)


@dataclass(eq=False)
class Entity:
    """A table and its operations. Without ``create`` or ``update`` it has no such common operation.

    With ``events=False`` none of its writes publishes an event.
    """

    model: type[Record]
    read: type[Schema]
    create: type[Schema] | None = None
    update: type[Schema] | None = None
    delete: bool = True
    events: bool = True
    name: str = ""
    own: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.name or self.model.__name__.lower()

    def command(self, name: str, *, emits: str | None, raises: Sequence[type[Problem]] = ()) -> Decorator:
        """Register a write. Its request is the schema that annotates the handler's parameter ``request``.

        The request of a ``create`` gets an optional ``id``, that of an ``update`` gets ``id`` and ``version``, as
        those of the common operations do. ``emits=None`` declares a write without an event. ``raises`` are the
        problems that the handler may raise beside those of every such operation (``src/contract/problems.py``).
        """
        return self._register(name, writes=True, emits=emits, raises=tuple(raises))

    def query(self, name: str, *, raises: Sequence[type[Problem]] = ()) -> Decorator:
        """Register a read. It may answer with a row, a schema, or a list of either."""
        return self._register(name, writes=False, emits=None, raises=tuple(raises))

    def operations(self) -> list[Operation]:
        """Every operation of the entity; one of its own takes the place of the common one of its name."""
        return [*{operation.name: operation for operation in (*self._writes(), *self._reads(), *self.own)}.values()]

    def answer(self, result: Any, max_answer: int) -> bytes:
        """The result of a read as JSON. Raises ResultTooLarge where it has more than ``max_answer`` bytes."""
        body = self.to_json(result)
        if len(body) > max_answer:
            raise ResultTooLarge
        return body

    def to_json(self, result: Any) -> bytes:
        """A row, or another result of a handler, as JSON; rows as the Read schema has them."""
        return pydantic_core.to_json(self._readable(result), by_alias=True)

    def _readable(self, result: Any) -> Any:
        match result:
            case Record():
                return self.read.model_validate(result.__dict__ if self._reads_columns_only else result)
            case list() | tuple():
                return {"items": [self._readable(item) for item in result], "next": None}
            case _:
                return result

    @cached_property
    def _reads_columns_only(self) -> bool:
        """Whether the Read schema has columns only, which are cheaper to take together than one by one."""
        return issubclass(self.read, ReadSchema) and self.read.model_fields.keys() <= {*columns(self.model)}

    def _register(self, name: str, *, writes: bool, emits: str | None, raises: tuple[type[Problem], ...]) -> Decorator:
        def register(handler: Handler) -> Handler:
            request_of = common.REQUESTS.get(name, column_limits.bounded) if writes else column_limits.bounded
            request = request_of(self.model, get_type_hints(handler)["request"])
            self.own.append(Operation(self, name, handler, request, writes=writes, emits=emits, raises=raises))
            return handler

        return register

    def _writes(self) -> Iterator[Operation]:
        if self.create:
            request = common.creating(self.model, self.create)
            yield self._common("create", common.create, request, writes=True, emits="created")
        if self.update:
            request = common.updating(self.model, self.update)
            yield self._common("update", common.update, request, writes=True, emits="updated")
        if self.delete:
            yield self._common("delete", common.delete, RowRef, writes=True, emits="deleted")

    def _reads(self) -> Iterator[Operation]:
        counting = common.counting(self.model, self.read)
        yield self._common("get", common.get, Id)
        yield self._common("list", self._page, common.listing(self.model, self.read))
        yield self._common("count", common.count, counting)
        yield self._common("exists", common.exists, counting)

    def _common(
        self,
        name: str,
        run: Callable[..., Awaitable[Any]],
        request: type[Schema],
        *,
        writes: bool = False,
        emits: str | None = None,
    ) -> Operation:
        """An operation that every entity has; ``run`` gets the model as well."""
        handler = partial(run, model=self.model)
        handler.__doc__ = run.__doc__
        return Operation(self, name, handler, request, writes=writes, emits=emits, common=True)

    async def _page(self, session: AsyncSession, request: Any, *, model: type[Record]) -> dict[str, Any]:
        """Those that fit, a page at a time."""
        found, following = await common.page(session, request, model=model)
        return {"items": [self._readable(row) for row in found], "next": following}
