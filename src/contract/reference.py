"""Every operation described: request, answer, event, problems, an example. ``./db operations`` and the page show it."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from src import errors, wire
from src.base import Record, RowRef, Stateful
from src.contract import fields
from src.contract.fields import Field
from src.entity import Entity, Operation
from src.errors import Problem
from src.persistence import relations

ALWAYS = (
    errors.Malformed,
    errors.UnsupportedEncoding,
    errors.Invalid,
    errors.TooLarge,
    errors.ResultTooLarge,
    errors.DeadlineExceeded,
    errors.RateLimited,
    errors.Internal,
)
"""What any request may be answered; ``unknown-operation`` is the answer to what is no operation."""

WRITES = (errors.IdempotencyKeyReused, errors.IdempotencyKeyRequired)
"""What any write may be answered besides."""

KEPT = ("CASCADE", "SET NULL")  # what a foreign key says that does not keep its row's parent from being deleted
EXAMPLE_MEMBERS = 3


@dataclass(frozen=True)
class Description:
    """One operation, in words. ``answered`` are the fields of an answer that is no row."""

    operation: Operation
    title: str
    request: Sequence[Field]
    answer: str
    answered: Sequence[Field]
    problems: Sequence[type[Problem]]
    example: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.operation.key

    @property
    def kind(self) -> str:
        return "write" if self.operation.writes else "read"

    @property
    def event(self) -> str | None:
        return self.operation.event

    @property
    def refused(self) -> str | None:
        """The event that says that it was refused."""
        return wire.failed_event(self.key) if self.operation.writes else None

    def absent(self, field: Field) -> str:
        """What is so where the request does not have the field."""
        own = self.operation.request.model_fields.keys() - RowRef.model_fields.keys()
        if field.required:
            return "required"
        if "." in field.name:
            return "not compared"
        if field.name in RowRef.model_fields:
            return "made by the service" if field.name == "id" else "not checked"
        unchanged = self.operation.name == "update" and bool(own)
        return "unchanged" if unchanged else f"default {field.absent}"


def describe(entities: Sequence[Entity]) -> dict[str, Description]:
    """Every operation, by its routing key."""
    names = {entity.model: (entity.name, str(entity.model.__tablename__)) for entity in entities}
    operations = (operation for entity in entities for operation in entity.operations())
    return {operation.key: _described(operation, names) for operation in operations}


def all_problems(kind: type[Problem] = Problem) -> list[type[Problem]]:
    """Every problem there is, in the order in which they are declared."""
    return [each for own in kind.__subclasses__() for each in (own, *all_problems(own))]


def _described(operation: Operation, names: Mapping[type[Record], tuple[str, str]]) -> Description:
    request = fields.of(operation.request)
    answer, answered = _answer(operation, names)
    return Description(
        operation=operation,
        title=inspect.cleandoc(operation.handler.__doc__ or "").partition("\n")[0],
        request=request,
        answer=answer,
        answered=answered,
        problems=[*ALWAYS, *(WRITES if operation.writes else ()), *_problems(operation)],
        example=_example(request),
    )


def _answer(operation: Operation, names: Mapping[type[Record], tuple[str, str]]) -> tuple[str, Sequence[Field]]:
    if operation not in operation.entity.own:
        return _common_answer(operation.name, *names[operation.entity.model]), ()
    returned = get_type_hints(operation.handler)["return"]
    for model in get_args(returned):
        return f'{{"items": [the {names[model][1]}], "next": null}}', ()
    if issubclass(returned, Record):
        return f"the {names[returned][0]}", ()
    return "an object", fields.of(returned, "serialization")


def _common_answer(name: str, row: str, rows: str) -> str:
    match name:
        case "list":
            return f'{{"items": [the {rows}], "next": the next page\'s offset, or null}}'
        case "count":
            return '{"count": integer}'
        case "exists":
            return '{"exists": boolean}'
        case "delete":
            return f"the {row} as it was"
        case _:
            return f"the {row}"


def _problems(operation: Operation) -> Iterator[type[Problem]]:
    """What follows from the request's fields and the entity's table."""
    model, given = operation.entity.model, operation.request.model_fields
    own = operation in operation.entity.own
    unique = any(all(name in given for name in names) for names in relations.uniques(model)) if given else False
    asked_for = unique and not operation.writes and not operation.name.endswith("exists")
    if ("id" in given and given["id"].is_required()) or asked_for:
        yield errors.NotFound
    if operation.name == "create" or (operation.writes and _some_unique(operation)):
        yield errors.Conflict
    if operation.writes and (_refers(operation) or (operation.name == "delete" and _is_kept(operation))):
        yield errors.ForeignKey
    if own and operation.writes and issubclass(model, Stateful):
        yield errors.IllegalTransition
    if "version" in given:
        yield errors.VersionMismatch


def _some_unique(operation: Operation) -> bool:
    """It may set a unique value, or a part of one."""
    return any(
        name in operation.request.model_fields for names in relations.uniques(operation.entity.model) for name in names
    )


def _refers(operation: Operation) -> bool:
    """It names rows of others, by a foreign key of its own or of a collection's."""
    model = operation.entity.model
    referring = {*relations.parents(model)}
    referring |= {f"{name}s" for _, held in relations.collections(model) for name in relations.parents(held)}
    return not referring.isdisjoint(operation.request.model_fields)


def _is_kept(operation: Operation) -> bool:
    return any(
        relations.on_delete(child, name) not in KEPT for child, name in relations.children(operation.entity.model)
    )


def _example(request: Sequence[Field]) -> dict[str, Any]:
    """What is required, and some of what is not: no row that somebody would have to have."""
    required = [field for field in request if field.required]
    optional = [field for field in request if not field.required and not field.names_row and field.name != "version"]
    chosen = [*required, *optional[: max(0, EXAMPLE_MEMBERS - len(required))]]
    return {field.name: field.example for field in request if field in chosen}
