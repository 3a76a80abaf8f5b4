"""What the deletion of a row does to other rows, read from the foreign keys that lead to it.

The database takes rows along (CASCADE) and empties references (SET NULL). What is emptied changes an answer, so it
counts as a change of that row: one UPDATE a table, before the deletion, sets null and counts the version. A row that
loses one of its collection (a chat its member) is changed by that as well.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from src.base import Base, Record
from src.persistence import relations

ROW: sa.BindParameter[Any] = sa.bindparam("row_id")
MOMENT: sa.BindParameter[Any] = sa.bindparam("moment")
"""The parameters of each update: the id of the row to be deleted, and the time of the change."""

type Which = sa.ColumnElement[bool]
type Doomed = sa.Select[Any] | None
"""The ids of the rows that are deleted; None for the one row that is named."""


@dataclass(frozen=True, slots=True)
class Consequences:
    """``updates`` come before the deletion; after it the rows of ``models`` may be gone or others than before."""

    updates: tuple[sa.Update, ...]
    models: tuple[type[Base], ...]


@dataclass(frozen=True, slots=True)
class _Effect:
    """Rows of the model are deleted; or, where it is said ``which``, changed: in the attribute ``name``, if any."""

    model: type[Base]
    which: Which | None = None
    name: str | None = None


@cache
def of(model: type[Base]) -> Consequences:
    """What the deletion of one row of this model does."""
    effects = list(_follow(model, None, {}))
    changes: defaultdict[type[Base], list[tuple[Which, str | None]]] = defaultdict(list)
    for effect in effects:
        if effect.which is not None:
            changes[effect.model].append((effect.which, effect.name))
    return Consequences(
        updates=tuple(_update(changed, causes) for changed, causes in changes.items()),
        models=tuple(dict.fromkeys(effect.model for effect in effects)),
    )


def _follow(model: type[Base], doomed: Doomed, going: Mapping[type[Base], Which]) -> Iterator[_Effect]:
    """What ``doomed`` rows of the model take along or empty. ``going`` tells which rows of other models are deleted."""
    if own := [name for child, name in relations.children(model) if child is model and _cascades(child, name)]:
        yield _Effect(model)
        doomed = _with_descendants(model, own, doomed)
        going = {**going, model: model.id.in_(doomed)}
    for child, name in relations.children(model):
        if relations.on_delete(child, name) == "SET NULL":
            yield _Effect(child, _spare(child, _refers(child, name, doomed), going), name)
        elif _cascades(child, name) and child is not model:
            if child in going:
                raise TypeError(f"{child.__name__}: a cascade that leads back to it by way of others is not supported")
            yield _Effect(child)
            yield from _deprive(child, name, doomed)
            inner = aliased(child)
            taken = sa.select(inner.id).where(_refers(inner, name, doomed))
            yield from _follow(child, taken, {**going, child: _refers(child, name, doomed)})


def _deprive(child: type[Base], name: str, doomed: Doomed) -> Iterator[_Effect]:
    """The rows whose collections hold what is deleted, but for those that take it along themselves."""
    for owner, key in relations.owners(child):
        if key != name:
            losing = sa.select(getattr(child, key)).where(_refers(child, name, doomed))
            yield _Effect(owner, owner.id.in_(losing))


def _cascades(child: type[Base], name: str) -> bool:
    return relations.on_delete(child, name) == "CASCADE"


def _refers(child: Any, name: str, doomed: Doomed) -> Which:
    column: sa.ColumnElement[Any] = getattr(child, name)
    return column == ROW if doomed is None else column.in_(doomed)


def _spare(model: type[Base], which: Which, going: Mapping[type[Base], Which]) -> Which:
    """Without the rows that are deleted themselves."""
    return sa.and_(which, going[model].is_not(sa.true())) if model in going else which


def _with_descendants(model: type[Base], names: Sequence[str], doomed: Doomed) -> sa.Select[Any]:
    """The doomed rows, and those of the same table that refer to them, and so on."""
    first, inner = aliased(model), aliased(model)
    begin = sa.select(first.id).where(first.id == ROW if doomed is None else first.id.in_(doomed))
    tree = begin.cte(f"{model.__tablename__}_going", recursive=True, nesting=True)  # MariaDB has none before an UPDATE
    tree = tree.union(sa.select(inner.id).where(sa.or_(*(getattr(inner, name) == tree.c.id for name in names))))
    return sa.select(tree.c.id)


def _update(model: type[Base], causes: Sequence[tuple[Which, str | None]]) -> sa.Update:
    """One change of each row, whatever its causes are."""
    every = sa.or_(*(which for which, _ in causes))
    emptied: dict[str, Any] = {}
    for name in {name for _, name in causes if name}:
        of_name = sa.or_(*(which for which, each in causes if each == name))
        emptied[name] = sa.null() if len(causes) == 1 else sa.case((of_name, sa.null()), else_=getattr(model, name))
    counted = {"version": model.version + 1, "updated_at": MOMENT} if issubclass(model, Record) else {}
    return sa.update(model).where(every).values(emptied | counted)
