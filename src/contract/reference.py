"""Every operation described: request, answer, event, problems, an example. ``./db operations`` and the page show it."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from src.base import Record, RowRef
from src.contract import fields, problems
from src.contract.fields import Field
from src.entity import Entity, Operation
from src.errors import Problem

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
    def failed_event(self) -> str | None:
        return self.operation.failed_event

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


def _described(operation: Operation, names: Mapping[type[Record], tuple[str, str]]) -> Description:
    request = fields.of(operation.request)
    answer, answered = _answer(operation, names)
    return Description(
        operation=operation,
        title=inspect.cleandoc(operation.handler.__doc__ or "").partition("\n")[0],
        request=request,
        answer=answer,
        answered=answered,
        problems=problems.of(operation),
        example=_example(request),
    )


def _answer(operation: Operation, names: Mapping[type[Record], tuple[str, str]]) -> tuple[str, Sequence[Field]]:
    if operation.common:
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


def _example(request: Sequence[Field]) -> dict[str, Any]:
    """What is required, and some of what is not: no row that somebody would have to have."""
    required = [field for field in request if field.required]
    optional = [field for field in request if not field.required and not field.names_row and field.name != "version"]
    chosen = [*required, *optional[: max(0, EXAMPLE_MEMBERS - len(required))]]
    return {field.name: field.example for field in request if field in chosen}
