"""What the deletion of a row does to other rows, read from the foreign keys that lead to it.

The database takes rows along (CASCADE) and empties references (SET NULL). What is emptied changes an answer, so it
counts as a change of that row: one UPDATE a referring table, before the deletion, sets null and counts the version. A
row that loses one of its collection (a chat its member) is changed by that as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from src import keys
from src.base import Base, Record

ROW: sa.BindParameter[Any] = sa.bindparam("row_id")
MOMENT: sa.BindParameter[Any] = sa.bindparam("moment")
"""The parameters of each update: the id of the row to be deleted, and the time of the change."""


@dataclass(frozen=True, slots=True)
class Consequences:
    """``updates`` come before the deletion; after it the rows of ``models`` may be gone or others than before."""

    updates: tuple[sa.Update, ...]
    models: tuple[type[Base], ...]


@cache
def of(model: type[Base]) -> Consequences:
    """What the deletion of one row of this model does."""
    steps = list(_follow(model, None, {}))
    return Consequences(
        updates=tuple(update for _, update in steps if update is not None),
        models=tuple(dict.fromkeys(changed for changed, _ in steps)),
    )


type Doomed = sa.Select[Any] | None
"""The ids of the rows that are deleted; None for the one row that is named."""


def _follow(
    model: type[Base], doomed: Doomed, going: dict[type[Base], sa.ColumnElement[bool]]
) -> Iterator[tuple[type[Base], sa.Update | None]]:
    """Each model whose rows are deleted or changed with ``doomed`` rows of ``model``, and the update that is due.

    ``going`` tells of each model on the way here which of its rows are deleted: nothing is updated in those.
    """
    for child, name in keys.children(model):
        match keys.on_delete(child, name):
            case "SET NULL":
                yield child, _emptied(child, name, doomed, going)
            case "CASCADE":
                if child in {model, *going}:
                    raise TypeError(f"{child.__name__}: a cascade that leads back to its own table cannot be followed")
                yield child, None
                yield from _deprived(child, name, doomed)
                inner = aliased(child)
                taken = sa.select(inner.id).where(_refers(inner, name, doomed))
                yield from _follow(child, taken, going | {child: _refers(child, name, doomed)})
            case _:  # the database refuses to delete what is referred to
                pass


def _refers(child: Any, name: str, doomed: Doomed) -> sa.ColumnElement[bool]:
    column: sa.ColumnElement[Any] = getattr(child, name)
    return column == ROW if doomed is None else column.in_(doomed)


def _emptied(
    child: type[Base], name: str, doomed: Doomed, going: dict[type[Base], sa.ColumnElement[bool]]
) -> sa.Update:
    update = sa.update(child).where(_refers(child, name, doomed)).values({name: None} | _counted(child))
    return update.where(going[child].is_not(sa.true())) if child in going else update


def _deprived(child: type[Base], name: str, doomed: Doomed) -> Iterator[tuple[type[Base], sa.Update]]:
    """The rows whose collections hold what is deleted, but for those that take it along themselves."""
    for owner, key in keys.owners(child):
        if key != name:
            losing = sa.select(getattr(child, key)).where(_refers(child, name, doomed))
            yield owner, sa.update(owner).where(owner.id.in_(losing)).values(_counted(owner))


def _counted(model: type[Base]) -> dict[str, Any]:
    return {"version": model.version + 1, "updated_at": MOMENT} if issubclass(model, Record) else {}
