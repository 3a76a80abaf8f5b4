"""The rows that a request names by its fields, so that a batch loads them together."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from pydantic import BaseModel

from src.base import Base, Record, Schema
from src.persistence import relations
from src.persistence.identity_map import LoadPlan


@dataclass(frozen=True)
class RowNames:
    """The fields of one operation's requests that name rows; ``self_references`` name rows of the model itself."""

    model: type[Record]
    id: bool
    parents: dict[str, type[Base]]
    self_references: tuple[str, ...]
    uniques: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, model: type[Record], request: type[Schema], *, writes: bool) -> Self:
        """Those of the requests of an operation; a read checks no parent, so it loads none."""
        fields = request.model_fields
        parents = {name: parent for name, parent in relations.parents(model).items() if name in fields}
        return cls(
            model=model,
            id="id" in fields,
            parents={name: parent for name, parent in parents.items() if parent is not model and writes},
            self_references=tuple(name for name in relations.self_references(model) if name in fields),
            uniques=tuple(unique for unique in relations.uniques(model) if all(name in fields for name in unique)),
        )

    @cached_property
    def any(self) -> bool:
        """Whether a request names the rows that it is about, by id or by a unique value."""
        return self.id or bool(self.uniques)

    def plan_load(self, plan: LoadPlan, data: BaseModel) -> None:
        """Add the rows that a request names to the rows that its batch loads."""
        given = data.__dict__
        if self.id and (row_id := given["id"]) is not None:
            plan.rows[self.model].add(row_id)
        for name, parent in self.parents.items():
            if (parent_id := given[name]) is not None:
                plan.parents[parent].add(parent_id)
        for name in self.self_references:
            if (row_id := given[name]) is not None:
                plan.rows[self.model].add(row_id)
        for unique in self.uniques:
            values = tuple(given[name] for name in unique)
            if None not in values:
                plan.uniques[self.model, unique].add(values)
