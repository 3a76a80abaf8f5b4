"""The fields of a schema: their names on the wire, their types in words, what is so where one is absent."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

type JSONSchema = Mapping[str, Any]

EXAMPLES = {"uuid": "0198c5b0-7c1e-7d3a-9f6e-2b4c8d1e5a70", "date-time": "2026-01-31T12:00:00Z"}
FORMATS = {"uuid": "uuid", "date-time": "RFC 3339 date-time with an offset"}


@dataclass(frozen=True)
class Field:
    """One field. ``absent`` is the value that it has then, as JSON, and None where it is required."""

    name: str
    type: str
    absent: str | None
    example: Any
    names_row: bool
    fields: tuple["Field", ...] = ()

    @property
    def required(self) -> bool:
        return self.absent is None


def of(schema: type[BaseModel], mode: Any = "validation") -> list[Field]:
    """The fields of a request, or with the mode ``serialization`` those of an answer."""
    return list(_Reader(schema, mode).fields())


class _Reader:
    def __init__(self, schema: type[BaseModel], mode: Any) -> None:
        self._document: JSONSchema = schema.model_json_schema(mode=mode)
        self._definitions: JSONSchema = self._document.get("$defs", {})
        self._schema = schema

    def fields(self) -> Iterator[Field]:
        given = zip(self._document["properties"].items(), self._schema.model_fields.values(), strict=True)
        for (name, schema), field in given:
            absent = None if field.is_required() else _json(field.get_default(call_default_factory=True))
            yield self._field(name, schema, absent)

    def _field(self, name: str, schema: JSONSchema, absent: str | None) -> Field:
        resolved = self._resolve(schema)
        properties = resolved.get("properties", {})
        inner = tuple(self._field(f"{name}.{each}", own, "null") for each, own in properties.items())
        words = "object of these" if inner else self.words(schema)
        is_id = any(option.get("format") == "uuid" for option in resolved.get("anyOf", [resolved]))
        return Field(name, words, absent, self._example(name, schema), is_id, inner)

    def words(self, schema: JSONSchema) -> str:
        """The type, as a stranger understands it."""
        match self._resolve(schema):
            case {"anyOf": options}:
                return " or ".join(self.words(option) for option in options)
            case {"enum": options}:
                return _one_of(options)
            case {"format": form}:
                return FORMATS[form]
            case resolved:
                return self._of_type(resolved)

    def _of_type(self, schema: JSONSchema) -> str:
        match schema["type"]:
            case "string":
                return "text" + _range(schema.get("minLength"), schema.get("maxLength"), " of {} characters")
            case "integer" | "number" as kind:
                return f"{kind}{_between(schema.get('minimum'), schema.get('maximum'))}"
            case "array":
                most = _range(schema.get("minItems"), schema.get("maxItems"), " of {}")
                return f"list{most}, each {self.words(schema['items'])}"
            case "object":
                properties = schema.get("properties")
                return f"object of {', '.join(properties)}" if properties else "JSON object"
            case kind:
                return str(kind)

    def _example(self, name: str, schema: JSONSchema) -> Any:
        match self._resolve(schema):
            case {"anyOf": [first, *_]}:
                return self._example(name, first)
            case {"default": value} if value and not isinstance(value, dict):
                return value
            case {"enum": [first, *_]}:
                return first
            case {"format": form}:
                return EXAMPLES[form]
            case resolved:
                return self._example_of_type(name, resolved)

    def _example_of_type(self, name: str, schema: JSONSchema) -> Any:
        """Of an object one member: an enumerated one, or a text."""
        match schema:
            case {"type": "string"}:
                return f"some {name.rpartition('.')[2].replace('_', ' ')}"
            case {"type": "integer" | "number"}:
                return schema.get("minimum", 1)
            case {"type": "array", "items": items}:
                return [self._example(name, items)]
            case {"properties": properties}:
                chosen = min(properties, key=lambda each: self._rank(properties[each]))
                return {chosen: self._example(chosen, properties[chosen])}
            case {"type": "object"}:
                return {"key": "value"}
            case {"type": kind}:
                return kind == "boolean" or None

    def _rank(self, schema: JSONSchema) -> int:
        first = self._resolve(self._resolve(schema).get("anyOf", [schema])[0])
        return 0 if "enum" in first else 1 if first.get("type") == "string" and "format" not in first else 2

    def _resolve(self, schema: JSONSchema) -> JSONSchema:
        reference = schema.get("$ref", "").removeprefix("#/$defs/")
        return {**self._definitions[reference], **schema} if reference else schema


def _one_of(options: list[str]) -> str:
    plain = [option for option in options if f"-{option}" in options and ":" not in option]
    if not plain:
        return f"one of {', '.join(options)}"
    nullable = [option for option in plain if f"{option}:first" in options]
    nulls = f", nulls where :first or :last after {' or '.join(nullable)} says" if nullable else ""
    return f"one of {', '.join(plain)}, descending with - before it{nulls}"


def _range(least: int | None, most: int | None, words: str) -> str:
    """``of 1 to 200 characters``; nothing where there is no limit."""
    if most is None:
        return words.format(f"{least:,} or more") if least else ""
    return words.format(f"{least:,} to {most:,}" if least else f"up to {most:,}")


def _between(least: int | None, most: int | None) -> str:
    if least is None or most is None:
        return f" from {least:,}" if least is not None else ""
    return f" from {least:,} to {most:,}"


def _json(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "{}"
    return json.dumps(value, default=str)
