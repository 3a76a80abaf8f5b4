"""What the deletion of a row does to other rows, derived from the foreign keys that lead to the row.

The database deletes referring rows (CASCADE) or sets their references to null (SET NULL). A reference that becomes
null changes an answer, so it counts as a change of that row: before the deletion one UPDATE a table sets the null and
increments the version. A row whose collection loses a member (a chat) is changed as well.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from src.base import Base
from src.persistence import relations, versioning

ROW: sa.BindParameter[Any] = sa.bindparam("row_id")
MOMENT: sa.BindParameter[Any] = sa.bindparam("moment")
"""The parameters of each update: the id of the row to be deleted, and the time of the change."""

type Which = sa.ColumnElement[bool]
type Deleted = sa.Select[Any] | None
"""The ids of the rows that are deleted; None for the one row that is named."""


@dataclass(frozen=True, slots=True)
class Consequences:
    """``updates`` precede the deletion. The deletion may change or delete rows of ``models``."""

    updates: tuple[sa.Update, ...]
    models: tuple[type[Base], ...]


@dataclass(frozen=True, slots=True)
class _Effect:
    """Rows of the model are deleted; with ``which``, those rows are changed, in the attribute ``name`` if any."""

    model: type[Base]
    which: Which | None = None
    name: str | None = None


@cache
def of(model: type[Base]) -> Consequences:
    """Return what the deletion of one row of this model does."""
    effects = list(_follow(model, None, {}))
    changes: defaultdict[type[Base], list[tuple[Which, str | None]]] = defaultdict(list)
    for effect in effects:
        if effect.which is not None:
            changes[effect.model].append((effect.which, effect.name))
    return Consequences(
        updates=tuple(_update(changed, causes) for changed, causes in changes.items()),
        models=tuple(dict.fromkeys(effect.model for effect in effects)),
    )


def _follow(model: type[Base], deleted: Deleted, deleted_models: Mapping[type[Base], Which]) -> Iterator[_Effect]:
    """Yield the effects of deleting rows of the model. ``deleted_models`` has the deleted rows of other models."""
    if own := [name for child, name in relations.children(model) if child is model and _cascades(child, name)]:
        yield _Effect(model)
        deleted = _with_descendants(model, own, deleted)
        deleted_models = {**deleted_models, model: model.id.in_(deleted)}
    for child, name in relations.children(model):
        if relations.on_delete(child, name) == "SET NULL":
            yield _Effect(child, _without_deleted(child, _refers(child, name, deleted), deleted_models), name)
        elif _cascades(child, name) and child is not model:
            if child in deleted_models:
                raise TypeError(f"{child.__name__}: a cascade that leads back to it by way of others is not supported")
            yield _Effect(child)
            yield from _shrink_collections(child, name, deleted)
            inner = aliased(child)
            taken = sa.select(inner.id).where(_refers(inner, name, deleted))
            yield from _follow(child, taken, {**deleted_models, child: _refers(child, name, deleted)})


def _shrink_collections(child: type[Base], name: str, deleted: Deleted) -> Iterator[_Effect]:
    """Yield the rows whose collections lose deleted rows, without those whose own deletion deletes these."""
    for owner, key in relations.owners(child):
        if key != name:
            losing = sa.select(getattr(child, key)).where(_refers(child, name, deleted))
            yield _Effect(owner, owner.id.in_(losing))


def _cascades(child: type[Base], name: str) -> bool:
    return relations.on_delete(child, name) == "CASCADE"


def _refers(child: Any, name: str, deleted: Deleted) -> Which:
    column: sa.ColumnElement[Any] = getattr(child, name)
    return column == ROW if deleted is None else column.in_(deleted)


def _without_deleted(model: type[Base], which: Which, deleted_models: Mapping[type[Base], Which]) -> Which:
    """Exclude the rows that are deleted."""
    return sa.and_(which, deleted_models[model].is_not(sa.true())) if model in deleted_models else which


def _with_descendants(model: type[Base], names: Sequence[str], deleted: Deleted) -> sa.Select[Any]:
    """Return the deleted rows and, recursively, the rows of the same table that refer to them."""
    first, inner = aliased(model), aliased(model)
    begin = sa.select(first.id).where(first.id == ROW if deleted is None else first.id.in_(deleted))
    tree = begin.cte(f"{model.__tablename__}_deleted", recursive=True, nesting=True)  # MariaDB has no WITH UPDATE
    tree = tree.union(sa.select(inner.id).where(sa.or_(*(getattr(inner, name) == tree.c.id for name in names))))
    return sa.select(tree.c.id)


def _update(model: type[Base], causes: Sequence[tuple[Which, str | None]]) -> sa.Update:
    """Return the UPDATE that changes each row once, whatever the number of its causes."""
    every = sa.or_(*(which for which, _ in causes))
    emptied: dict[str, Any] = {}
    for name in {name for _, name in causes if name}:
        of_name = sa.or_(*(which for which, each in causes if each == name))
        emptied[name] = sa.null() if len(causes) == 1 else sa.case((of_name, sa.null()), else_=getattr(model, name))
    return sa.update(model).where(every).values(emptied | versioning.increment_in_sql(model, MOMENT))
