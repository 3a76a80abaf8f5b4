"""By what a model's rows are named and how they hang together, read from its table."""

from functools import cache
from typing import cast

from sqlalchemy import Table, UniqueConstraint, inspect

from src.base import Base


@cache
def parents(model: type[Base]) -> dict[str, type[Base]]:
    """The attributes that are foreign keys, each with the model that it refers to."""
    mapper = inspect(model)
    models = {other.local_table: other.class_ for other in mapper.registry.mappers}
    table = cast("Table", mapper.local_table)
    return {mapper.get_property_by_column(key.parent).key: models[key.column.table] for key in table.foreign_keys}


@cache
def uniques(model: type[Base]) -> tuple[tuple[str, ...], ...]:
    """The attributes of each unique constraint."""
    mapper = inspect(model)
    table = cast("Table", mapper.local_table)
    constraints = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    return tuple(
        sorted(tuple(mapper.get_property_by_column(column).key for column in unique.columns) for unique in constraints)
    )


@cache
def children(model: type[Base]) -> tuple[tuple[type[Base], str], ...]:
    """Each model that refers to this one, with the attribute that does."""
    others: list[type[Base]] = [mapper.class_ for mapper in inspect(model).registry.mappers]
    return tuple((other, name) for other in others for name, parent in parents(other).items() if parent is model)


@cache
def collections(model: type[Base]) -> tuple[tuple[str, type[Base]], ...]:
    """The relationships that are loaded with a row and belong to it, with the model that they hold."""
    owned = (rel for rel in inspect(model).relationships if rel.uselist and rel.lazy == "selectin")
    return tuple((rel.key, rel.mapper.class_) for rel in owned)
