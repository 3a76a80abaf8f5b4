"""A conversation, from its opening to its close."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import AwareDatetime, Field
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src import crud
from src.base import JSON, UNCHANGED, Base, Row, Schema, Timestamped, Versioned, now
from src.entity import Change, Entity
from src.errors import IllegalTransition

if TYPE_CHECKING:
    from src.models.user import User


class SessionStatus(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class Session(Base, Timestamped, Versioned):
    __tablename__ = "sessions"

    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    title: Mapped[str | None]
    status: Mapped[SessionStatus] = mapped_column(default=SessionStatus.OPEN, server_default="open")
    meta: Mapped[JSON] = mapped_column("metadata", default=dict, server_default="{}")
    closed_at: Mapped[datetime | None]

    user: Mapped["User | None"] = relationship(lazy="raise")


class CreateSession(Schema):
    user_id: UUID | None = None
    title: str | None = None
    meta: JSON = Field(default_factory=dict, alias="metadata")


class UpdateSession(Schema):
    user_id: UUID | None = UNCHANGED
    title: str | None = UNCHANGED
    meta: JSON = Field(default=UNCHANGED, alias="metadata")


class ReadSession(Row):
    user_id: UUID | None
    title: str | None
    status: SessionStatus
    meta: JSON = Field(serialization_alias="metadata")
    closed_at: AwareDatetime | None


entity = Entity(Session, create=CreateSession, update=UpdateSession, read=ReadSession)


@entity.command("close", emits="closed")
async def close(session: AsyncSession, request: Change) -> Session:
    """End the conversation; it must be open."""
    row = await crud.get(session, Session, request.id, request.version)
    if row.status is not SessionStatus.OPEN:
        raise IllegalTransition(f"The session is {row.status}, not open.")
    row.status, row.closed_at = SessionStatus.CLOSED, now()
    return row


@entity.command("reopen", emits="reopened")
async def reopen(session: AsyncSession, request: Change) -> Session:
    """Go on with the conversation; it must be closed."""
    row = await crud.get(session, Session, request.id, request.version)
    if row.status is not SessionStatus.CLOSED:
        raise IllegalTransition(f"The session is {row.status}, not closed.")
    row.status, row.closed_at = SessionStatus.OPEN, None
    return row
