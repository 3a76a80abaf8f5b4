"""A question within a session, and its answer."""

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
from src.models.session import Session


class QueryStatus(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = (QueryStatus.COMPLETED, QueryStatus.FAILED, QueryStatus.CANCELLED)


class Query(Stateful, Record):
    __tablename__ = "queries"

    TRANSITIONS: ClassVar = {
        QueryStatus.PENDING: (QueryStatus.IN_PROGRESS, *FINAL),
        QueryStatus.IN_PROGRESS: FINAL,
    }

    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    text: Mapped[str]
    status: Mapped[QueryStatus] = mapped_column(default=QueryStatus.PENDING, server_default="pending")
    response: Mapped[JSON | None]
    error: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    meta: Mapped[JSON] = mapped_column("metadata", default=dict, server_default="{}")

    session: Mapped[Session] = relationship(lazy="raise")

    def move_to(self, status: StrEnum) -> None:
        """Take the next status, and note when. Raises IllegalTransition."""
        super().move_to(status)
        if status is QueryStatus.IN_PROGRESS:
            self.started_at = now()
        else:
            self.finished_at = now()


class CreateQuery(Schema):
    session_id: UUID
    text: str
    meta: JSON = Field(default_factory=dict)


class UpdateQuery(Schema):
    text: str = UNCHANGED
    meta: JSON = UNCHANGED


class ReadQuery(ReadSchema):
    session_id: UUID
    text: str
    status: QueryStatus
    response: JSON | None
    error: str | None
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    meta: JSON


class CompleteQuery(RowRef):
    response: JSON


class FailQuery(RowRef):
    error: str


entity = Entity(Query, create=CreateQuery, update=UpdateQuery, read=ReadQuery)


@entity.command("start", emits="started", raises=(IllegalTransition,))
async def start(session: AsyncSession, request: RowRef) -> Query:
    """Begin to answer; the query must be pending."""
    query = await crud.get(session, Query, request.id, request.version)
    query.move_to(QueryStatus.IN_PROGRESS)
    return query


@entity.command("complete", emits="completed", raises=(IllegalTransition,))
async def complete(session: AsyncSession, request: CompleteQuery) -> Query:
    """Record the answer; the query must be pending or in progress."""
    query = await crud.get(session, Query, request.id, request.version)
    query.move_to(QueryStatus.COMPLETED)
    query.response = request.response
    return query


@entity.command("fail", emits="failed", raises=(IllegalTransition,))
async def fail(session: AsyncSession, request: FailQuery) -> Query:
    """Record why there is no answer; the query must be pending or in progress."""
    query = await crud.get(session, Query, request.id, request.version)
    query.move_to(QueryStatus.FAILED)
    query.error = request.error
    return query


@entity.command("cancel", emits="cancelled", raises=(IllegalTransition,))
async def cancel(session: AsyncSession, request: RowRef) -> Query:
    """Give the query up; it must be pending or in progress."""
    query = await crud.get(session, Query, request.id, request.version)
    query.move_to(QueryStatus.CANCELLED)
    return query
