"""By what a model's rows are named and how they hang together, read from its table."""

from collections.abc import Sequence
from functools import cache
from typing import cast

from sqlalchemy import Table, UniqueConstraint, inspect

from src.base import Base


@cache
def parents(model: type[Base]) -> dict[str, type[Base]]:
    """The attributes that are foreign keys, each with the model that it refers to.

    Raises TypeError where one has no ``relationship()``: without it a child would be written before its parent.
    """
    mapper = inspect(model)
    models = {other.local_table: other for other in mapper.registry.mappers}
    found: dict[str, type[Base]] = {}
    for key in cast("Table", mapper.local_table).foreign_keys:
        parent, name = models[key.column.table], mapper.get_property_by_column(key.parent).key
        related = {column for relationship in mapper.relationships for column in relationship.local_columns}
        related |= {column for relationship in parent.relationships for column in relationship.remote_side}
        if key.parent not in related:
            raise TypeError(f'{model.__name__}.{name} is a foreign key without a relationship(lazy="raise")')
        found[name] = parent.class_
    return found


@cache
def self_references(model: type[Base]) -> tuple[str, ...]:
    """The attributes that are foreign keys to the model itself."""
    return tuple(name for name, parent in parents(model).items() if parent is model)


@cache
def on_delete(model: type[Base], name: str) -> str:
    """What the database does to a row when the one that its foreign key ``name`` refers to is deleted."""
    column = inspect(model).columns[name]
    (rule,) = {key.ondelete or "" for key in column.foreign_keys}
    return rule.upper()


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
    found = ((other, name, parent) for other in _models(model) for name, parent in parents(other).items())
    return tuple((other, name) for other, name, parent in found if parent is model)


@cache
def is_leaf(model: type[Base]) -> bool:
    """To delete one of its rows touches no other, and frees nothing but its id."""
    return not (children(model) or collections(model) or uniques(model) or owners(model))


@cache
def collections(model: type[Base]) -> tuple[tuple[str, type[Base]], ...]:
    """The relationships that are loaded with a row and belong to it, with the model that they hold."""
    owned = (rel for rel in inspect(model).relationships if rel.uselist and rel.lazy == "selectin")
    return tuple((rel.key, rel.mapper.class_) for rel in owned)


@cache
def owners(model: type[Base]) -> tuple[tuple[type[Base], str], ...]:
    """Each model whose rows have rows of this one in a collection, with the attribute that refers to them."""
    return tuple(
        (other, name)
        for other in _models(model)
        if any(held is model for _, held in collections(other))
        for name, parent in parents(model).items()
        if parent is other
    )


def _models(model: type[Base]) -> Sequence[type[Base]]:
    """In one order in every process: rows are locked in it."""
    models = [mapper.class_ for mapper in inspect(model).registry.mappers]
    return sorted(models, key=lambda each: str(each.__tablename__))
