"""What a service has to say. A log entry is written once, and neither changed nor deleted by a request."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src.base import JSON, IndexedText, ReadSchema, Record, Schema
from src.entity import Entity
from src.models.user import User


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Log(Record):
    __tablename__ = "logs"

    level: Mapped[Level]
    source: Mapped[IndexedText] = mapped_column(index=True)
    message: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    context: Mapped[JSON] = mapped_column(default=dict, server_default="{}")

    user: Mapped[User | None] = relationship(lazy="raise")


class CreateLog(Schema):
    level: Level
    source: Annotated[str, Field(min_length=1, max_length=200)]
    message: str
    user_id: UUID | None = None
    context: JSON = Field(default_factory=dict)


class ReadLog(ReadSchema):
    level: Level
    source: str
    message: str
    user_id: UUID | None
    context: JSON


entity = Entity(Log, create=CreateLog, read=ReadLog, delete=False)
