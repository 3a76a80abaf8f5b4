"""An entity that has a column of every kind."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime, Field
from sqlalchemy import BigInteger, ForeignKey, Index, MetaData, SmallInteger, String, true
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src import base
from src.base import JSON, UNCHANGED, IndexedText, ReadSchema, Record, Schema
from src.entity import Entity


class Grade(StrEnum):
    FINE = "fine"
    COARSE = "coarse"


class OfMeasures(Record):
    """Tables that no migration knows."""

    __abstract__ = True
    metadata = MetaData(naming_convention=base.NAMING)


class Measure(OfMeasures):
    __tablename__ = "measures"
    __table_args__ = (Index(None, "place", "name"),)

    name: Mapped[IndexedText] = mapped_column(unique=True)
    place: Mapped[IndexedText | None]
    note: Mapped[str | None]
    short: Mapped[str | None] = mapped_column(String(5))
    small: Mapped[int | None] = mapped_column(SmallInteger)
    number: Mapped[int | None]
    big: Mapped[int | None] = mapped_column(BigInteger)
    ratio: Mapped[float | None]
    exact: Mapped[bool] = mapped_column(default=True, server_default=true())
    grade: Mapped[Grade] = mapped_column(default=Grade.FINE, server_default="fine")
    taken_at: Mapped[datetime | None]
    tag: Mapped[UUID | None]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("measures.id", ondelete="SET NULL"), index=True)
    detail: Mapped[JSON] = mapped_column(default=dict, server_default="{}")

    parent: Mapped["Measure | None"] = relationship(lazy="raise", remote_side="Measure.id")


class UpdateMeasure(Schema):
    name: str = UNCHANGED
    place: str | None = None
    note: str | None = None
    short: str | None = None
    small: int | None = None
    number: int | None = None
    big: int | None = None
    ratio: float | None = None
    exact: bool = True
    grade: Grade = Grade.FINE
    taken_at: AwareDatetime | None = None
    tag: UUID | None = None
    parent_id: UUID | None = None
    detail: JSON = Field(default_factory=dict)


class CreateMeasure(UpdateMeasure):
    name: str


class ReadMeasure(ReadSchema):
    name: str
    place: str | None
    note: str | None
    short: str | None
    small: int | None
    number: int | None
    big: int | None
    ratio: float | None
    exact: bool
    grade: Grade
    taken_at: AwareDatetime | None
    tag: UUID | None
    parent_id: UUID | None
    detail: JSON


entity = Entity(Measure, create=CreateMeasure, update=UpdateMeasure, read=ReadMeasure)
