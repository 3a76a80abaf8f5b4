"""Requests derived from the schemas of the operations, so that a new entity is tested without a new test.

Ids, names and numbers come from small pools, so that requests collide: a conflict, a parent that is gone, a row
deleted and made anew within one batch are the rule here.
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from src.base import Base
from src.entity import Entity, Operation
from src.persistence import relations

type Body = dict[str, Any]
type _Schema = dict[str, Any]

IDS = [str(uuid.UUID(int=number)) for number in (1, 2, 3)]
NUMBERS = [
    *("#0", "#-0", "#-0.0", "#1", "#1.0", "#-1.5", "#1e2", "#0.1", "#1e-7", "#5e-324", "#1e-400"),
    *("#1e15", "#1e16", "#1E+16", "#-1e16", "#10000000000000000", "#12345678901234567.5", "#1e22", "#1e23"),
    *("#9007199254740993", "#123456789012345678901234567890", "#1e100", "#1e300", "#-1e308", "#1e400"),
]

ids = st.sampled_from([*IDS[:2] * 3, IDS[2]])
new_ids = st.sampled_from([*IDS, IDS[2]])
names = st.sampled_from(["ada", "bob", "eve"])
versions = st.sampled_from([None, None, None, "#1", "#1", "#2"])
numbers = st.sampled_from([*["#1", "#1e16", "#-0.0"] * 5, *NUMBERS])
scalars = st.one_of(numbers, st.none(), st.booleans(), names)
nested = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(names, scalars, max_size=2))
few = st.sampled_from(["#1e16", "#-0.0", "#1"]).map(lambda number: {"a": number})
objects = st.one_of(few, few, st.dictionaries(st.sampled_from(["a", "b"]), nested, max_size=2))
moments = st.sampled_from(["2026-01-01T00:00:00Z", "1999-12-31T23:59:59.999999+02:00"])


def documents(schema: type[BaseModel], row: st.SearchStrategy[str] = ids) -> st.SearchStrategy[Body]:
    """What fits a schema; an id in it is always given."""
    document = schema.model_json_schema()
    derived = _Reader(document.get("$defs", {})).fields(document)
    return st.builds(lambda body, row: body | {"id": row}, derived, row) if "id" in document["properties"] else derived


def bodies(operation: Operation) -> st.SearchStrategy[Body]:
    """Bodies of one operation's requests; what is created is often new."""
    return documents(operation.request, new_ids if operation.name == "create" else ids)


def furnishing(creates: Iterable[Operation]) -> st.SearchStrategy[list[tuple[str, Body]]]:
    """Requests that make the first two rows of some entities: names differ, foreign keys name one of the two."""
    rows = [st.tuples(st.just(op.key), _row(op, number)) for op in creates for number in (0, 1)]
    return st.tuples(*rows).map(list)


def families(entities: Iterable[Entity]) -> list[list[Entity]]:
    """For each foreign key the entities at its two ends; and all of them together."""
    known = list(entities)
    ends = [{child.model, parent} for child in known for parent in relations.parents(child.model).values()]
    return [*([entity for entity in known if entity.model in two] for two in ends), known]


def with_parents(family: Iterable[Entity], entities: Iterable[Entity]) -> list[Entity]:
    """The entities, and whatever they refer to, parents first."""
    models: set[type[Base]] = {entity.model for entity in family}
    while more := {parent for model in models for parent in relations.parents(model).values()} - models:
        models |= more
    return _parents_first(entity for entity in entities if entity.model in models)


def _row(operation: Operation, number: int) -> st.SearchStrategy[Body]:
    """What makes a row; it refers to the first one of its own kind where it is the second."""
    model = operation.entity.model
    own: Body = {name: ("ada", "bob")[number] for unique in relations.uniques(model) for name in unique}
    earlier = st.just(IDS[0] if number else None)
    either = st.sampled_from(IDS[:2])
    links = {name: earlier if parent is model else either for name, parent in relations.parents(model).items()}
    linked = st.fixed_dictionaries(links)
    return st.builds(lambda body, to: body | to | own | {"id": IDS[number]}, bodies(operation), linked)


def _parents_first(entities: Iterable[Entity]) -> list[Entity]:
    left, found = list(entities), list[Entity]()
    while left:
        waiting = {entity.model for entity in left}
        ready = [e for e in left if not waiting.intersection(relations.parents(e.model).values()) - {e.model}]
        found += ready
        left = [entity for entity in left if entity not in ready]
    return found


class _Reader:
    """Reads a JSON schema as strategies."""

    def __init__(self, definitions: dict[str, _Schema]) -> None:
        self._definitions = definitions

    def fields(self, schema: _Schema) -> st.SearchStrategy[Body]:
        """Objects that have what is required, and some of what is not."""
        properties = {name: self.value(field) for name, field in schema["properties"].items()}
        properties |= {"version": versions} if "version" in properties else {}
        needed = set(schema.get("required", ()))
        required = {name: value for name, value in properties.items() if name in needed}
        optional = {name: value for name, value in properties.items() if name not in needed}
        return st.fixed_dictionaries(required, optional=optional)

    def value(self, schema: _Schema) -> st.SearchStrategy[Any]:
        match schema:
            case {"$ref": reference}:
                return self.value(self._definitions[reference.removeprefix("#/$defs/")])
            case {"anyOf": options} | {"oneOf": options}:
                return st.one_of([self.value(option) for option in options])
            case {"enum": options}:
                return st.sampled_from(options)
            case {"const": value}:
                return st.just(value)
            case _:
                return self._by_type[schema["type"]](self, schema)

    def _text(self, schema: _Schema) -> st.SearchStrategy[str]:
        return {"uuid": ids, "date-time": moments}.get(schema.get("format", ""), names)

    def _integer(self, schema: _Schema) -> st.SearchStrategy[str]:
        least = schema.get("minimum", 0)
        return st.integers(least, least + 2).map(lambda number: f"#{number}")

    def _array(self, schema: _Schema) -> st.SearchStrategy[list[Any]]:
        longest = min(schema.get("maxItems", 3), 6)
        return st.lists(self.value(schema["items"]), min_size=schema.get("minItems", 0), max_size=longest)

    def _object(self, schema: _Schema) -> st.SearchStrategy[Body]:
        return self.fields(schema) if "properties" in schema else objects

    _by_type: dict[str, Callable[["_Reader", _Schema], st.SearchStrategy[Any]]] = {  # noqa: RUF012 - read only
        "string": _text,
        "integer": _integer,
        "number": lambda reader, schema: numbers,
        "boolean": lambda reader, schema: st.booleans(),
        "null": lambda reader, schema: st.none(),
        "array": _array,
        "object": _object,
    }
