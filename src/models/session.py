"""A conversation, from its opening to its close."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src import crud
from src.base import JSON, UNCHANGED, ReadSchema, Record, RowRef, Schema, Stateful
from src.clock import now
from src.entity import Entity
from src.errors import IllegalTransition
from src.models.user import User


class SessionStatus(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class Session(Stateful, Record):
    __tablename__ = "sessions"

    TRANSITIONS: ClassVar = {
        SessionStatus.OPEN: (SessionStatus.CLOSED,),
        SessionStatus.CLOSED: (SessionStatus.OPEN,),
    }

    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    title: Mapped[str | None]
    status: Mapped[SessionStatus] = mapped_column(default=SessionStatus.OPEN, server_default="open")
    meta: Mapped[JSON] = mapped_column("metadata", default=dict, server_default="{}")
    closed_at: Mapped[datetime | None]

    user: Mapped[User | None] = relationship(lazy="raise")


class CreateSession(Schema):
    user_id: UUID | None = None
    title: str | None = None
    meta: JSON = Field(default_factory=dict)


class UpdateSession(Schema):
    user_id: UUID | None = UNCHANGED
    title: str | None = UNCHANGED
    meta: JSON = UNCHANGED


class ReadSession(ReadSchema):
    user_id: UUID | None
    title: str | None
    status: SessionStatus
    meta: JSON
    closed_at: AwareDatetime | None


entity = Entity(Session, create=CreateSession, update=UpdateSession, read=ReadSession)


@entity.command("close", emits="closed", raises=(IllegalTransition,))
async def close(session: AsyncSession, request: RowRef) -> Session:
    """End the conversation; it must be open."""
    row = await crud.get(session, Session, request.id, request.version)
    row.move_to(SessionStatus.CLOSED)
    row.closed_at = now()
    return row


@entity.command("reopen", emits="reopened", raises=(IllegalTransition,))
async def reopen(session: AsyncSession, request: RowRef) -> Session:
    """Go on with the conversation; it must be closed."""
    row = await crud.get(session, Session, request.id, request.version)
    row.move_to(SessionStatus.OPEN)
    row.closed_at = None
    return row
