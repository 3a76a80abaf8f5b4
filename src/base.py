"""What every table and every schema has: a UUIDv7 id, timestamps, a version, names of constraints, strictness."""

import sys
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from enum import Enum as PythonEnum
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, cast
from uuid import UUID

from pydantic import AfterValidator, AliasGenerator, AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Column, ColumnElement, MetaData, Table, event, func, inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, TypeResolve, mapped_column
from sqlalchemy.sql.schema import CallableColumnDefault, ScalarElementColumnDefault

from src.clock import now
from src.dialects import types
from src.errors import IllegalTransition
from src.json_values import canonical

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7

type JSON = Annotated[dict[str, Any], AfterValidator(canonical)]
"""A JSON object in a column. Replace it, never change it in place: a change inside is not seen."""

type IndexedText = str
"""Text in an index or a unique constraint: it has up to 255 characters, and must be this on MariaDB's account."""

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """A table with an id. The client may choose it (any UUID); where it does not, it is a UUIDv7 made here.

    A new object has a value in every column and collection at once: answers are made before the flush.
    """

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: types.Text,
        IndexedText: types.IndexedText,
        float: types.Number,
        datetime: types.Moment,
        UUID: types.Identifier,
        JSON: types.JSON,
    }

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-1)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__table__" in cls.__dict__:
            types.check_indexes(cls.__name__, cast("Table", cls.__table__))

    def __init__(self, **values: Any) -> None:
        own = self.__dict__
        for name, default in _defaults(type(self)):
            own[name] = values.pop(name) if name in values else default()
        for name in _collections(type(self)):
            setattr(self, name, values.pop(name, []))
        for name, value in values.items():
            if name not in inspect(type(self)).relationships:
                raise no_attribute(type(self), name)
            setattr(self, name, value)


@event.listens_for(Base, "resolve_type_annotation")
def _word(annotation: TypeResolve) -> types.Word | None:
    """The type of an enum: a map of types would make it SQLAlchemy's own, whatever it says."""
    kind = annotation.resolved_type
    return types.word(kind) if isinstance(kind, type) and issubclass(kind, PythonEnum) else None


@cache
def columns(model: type[Base]) -> tuple[str, ...]:
    """The attributes of the model that are columns."""
    return tuple(attribute.key for attribute in inspect(model).column_attrs)


@cache
def writable(model: type[Base]) -> frozenset[str]:
    """The attributes that ``crud`` writes: columns, and collections that belong to the row."""
    return frozenset((*columns(model), *_collections(model)))


def no_attribute(model: type[Base], name: str) -> TypeError:
    """Return the error for a name that is no such attribute; every class has others that store nothing."""
    if name in inspect(model).relationships:
        return TypeError(f"{model.__name__}.{name} is a relationship; use the column of its foreign key")
    hint = "; the attribute of the column metadata is 'meta'" if name == _on_the_wire("meta") else ""
    return TypeError(f"{model.__name__} has no column {name!r}{hint}")


@cache
def _defaults(model: type[Base]) -> tuple[tuple[str, Callable[[], Any]], ...]:
    return tuple((attribute.key, _default(attribute.columns[0])) for attribute in inspect(model).column_attrs)


@cache
def _collections(model: type[Base]) -> tuple[str, ...]:
    return tuple(rel.key for rel in inspect(model).relationships if rel.uselist and rel.lazy == "selectin")


def _default(column: ColumnElement[Any]) -> Callable[[], Any]:
    default = column.default if isinstance(column, Column) else None
    match default:
        case CallableColumnDefault():
            call = default.arg
            return lambda: call(cast("Any", None))
        case ScalarElementColumnDefault():
            return lambda: default.arg
        case _:
            return lambda: None


class Record(Base):
    """A row that is spoken to on the wire: it says when it was made and last changed, and counts its changes.

    ``version`` starts at 1; that of an update or a delete is held against it. No two changes have the same time.
    """

    __abstract__ = True

    created_at: Mapped[datetime] = mapped_column(default=now, server_default=func.now(), index=True, sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(default=now, server_default=func.now(), sort_order=91)
    version: Mapped[int] = mapped_column(default=1, server_default="1", sort_order=92)


class Stateful:
    """Has a status. ``TRANSITIONS`` maps each status to those that may follow it; one without an entry is final."""

    status: Any
    TRANSITIONS: ClassVar[Mapping[Any, Collection[Any]]]

    def move_to(self, status: StrEnum) -> None:
        """Take the next status. Raises IllegalTransition."""
        if status not in self.TRANSITIONS.get(self.status, ()):
            raise IllegalTransition(f"A {type(self).__name__.lower()} that is {self.status} cannot become {status}.")
        self.status = status


def _on_the_wire(name: str) -> str:
    """SQLAlchemy reserves the attribute name ``metadata``."""
    return "metadata" if name == "meta" else name


class Schema(BaseModel):
    """What is said on the wire: types as they are in JSON, no field that is not declared."""

    model_config = ConfigDict(
        strict=True, extra="forbid", from_attributes=True, alias_generator=AliasGenerator(alias=_on_the_wire)
    )


class ReadSchema(Schema):
    """What a Read schema begins with; it is read from the attributes of a row."""

    model_config = ConfigDict(alias_generator=AliasGenerator(serialization_alias=_on_the_wire), extra="ignore")

    id: UUID
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


UNCHANGED: Any = None
"""The default of an update's fields: those that are not sent stay as they are."""


class Id(Schema):
    """Names a row."""

    id: UUID


class RowRef(Id):
    """Names a row to be changed, and the version it must have, if any."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
