"""What a column holds, said in the schemas: no number and no text reaches a database that it would overflow."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa
from pydantic import GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema
from sqlalchemy import inspect

from src.base import Base, Schema
from src.dialects import types


@dataclass(frozen=True)
class Bound:
    """To be put into ``Annotated``. Values of the ``kind``, as Pydantic calls it, are between these, or closer."""

    kind: str
    least: Mapping[str, Any] = field(default_factory=dict)
    most: Mapping[str, Any] = field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast("CoreSchema", self._narrow(handler(source), handler))

    def _narrow(self, found: CoreSchema, handler: GetCoreSchemaHandler) -> dict[str, Any]:
        schema = cast("dict[str, Any]", handler.resolve_ref_schema(found))
        if schema["type"] == self.kind:
            least = {name: max(value, schema.get(name, value)) for name, value in self.least.items()}
            most = {name: min(value, schema.get(name, value)) for name, value in self.most.items()}
            return schema | least | most
        return schema | ({"schema": self._narrow(schema["schema"], handler)} if "schema" in schema else {})


def _integer(bits: int) -> Bound:
    return Bound("int", {"ge": -(2 ** (bits - 1))}, {"le": 2 ** (bits - 1) - 1})


_BOUNDS: dict[type[sa.types.TypeEngine[Any]], Bound] = {  # the first that fits: a BigInteger is an Integer too
    sa.SmallInteger: _integer(16),
    sa.BigInteger: _integer(64),
    sa.Integer: _integer(32),
    sa.Float: Bound("float", most={"allow_inf_nan": False}),
    sa.DateTime: Bound(  # in whatever zone it is said
        "datetime", {"ge": datetime(1, 1, 2, tzinfo=UTC)}, {"le": datetime(9999, 12, 30, tzinfo=UTC)}
    ),
}


def of(kind: sa.types.TypeEngine[Any]) -> Bound | None:
    """What a column of this type holds on every database; None where the size of a body is bound enough."""
    if isinstance(kind, sa.String):
        length = types.longest(kind)
        return Bound("str", most={"max_length": length}) if length else None
    return next((bound for each, bound in _BOUNDS.items() if isinstance(kind, each)), None)


def bounded(model: type[Base], schema: type[Schema]) -> type[Schema]:
    """The schema, whose fields that are named as columns hold no more than these do."""
    kinds = {name: column.type for name, column in inspect(model).columns.items() if name in schema.model_fields}
    bounds = {name: bound for name, kind in kinds.items() if (bound := of(kind))}
    if not bounds:
        return schema
    fields: dict[str, Any] = {}
    for name, bound in bounds.items():
        narrower = copy(schema.model_fields[name])
        narrower.metadata = [*narrower.metadata, bound]
        fields[name] = (narrower.annotation, narrower)
    return cast("type[Schema]", create_model(schema.__name__, __base__=schema, __doc__=schema.__doc__, **fields))
