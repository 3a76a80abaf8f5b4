"""Something that a user is to do."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field
from sqlalchemy import ForeignKey, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src import crud
from src.base import UNCHANGED, Id, ReadSchema, Record, RowRef, Schema, Stateful
from src.clock import now
from src.entity import Entity
from src.errors import IllegalTransition
from src.models import user
from src.models.user import ReadUser, User


class TaskStatus(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


FINAL = (TaskStatus.COMPLETED, TaskStatus.CANCELLED)


class Task(Stateful, Record):
    __tablename__ = "tasks"

    TRANSITIONS: ClassVar = {
        TaskStatus.PENDING: (TaskStatus.IN_PROGRESS, *FINAL),
        TaskStatus.IN_PROGRESS: FINAL,
    }

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    title: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[TaskStatus] = mapped_column(default=TaskStatus.PENDING, server_default="pending")
    completed_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="raise")


class CreateTask(Schema):
    user_id: UUID
    title: str
    description: str | None = None


class UpdateTask(Schema):
    title: str = UNCHANGED
    description: str | None = UNCHANGED


class ReadTask(ReadSchema):
    user_id: UUID
    title: str
    description: str | None
    status: TaskStatus
    completed_at: AwareDatetime | None


class SearchTasks(Schema):
    """``text`` is found anywhere in the title or the description, in any case; with ``title_only`` in the title."""

    text: Annotated[str, Field(min_length=1, max_length=200)]
    title_only: bool = False
    user_id: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 50


class UserWithTasks(ReadUser):
    tasks: list[ReadTask]


class TaskCounts(Schema):
    """How many of a user's tasks have each status."""

    pending: int = 0
    in_progress: int = 0
    completed: int = 0
    cancelled: int = 0


class ListWithTaskCounts(Schema):
    """A page of users, by their names."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    offset: Annotated[int, Field(ge=0, le=2**62)] = 0


class UserWithTaskCounts(ReadUser):
    task_counts: TaskCounts


class UsersWithTaskCounts(Schema):
    """``next`` is the offset of the next page, null after the last."""

    items: list[UserWithTaskCounts]
    next: int | None


entity = Entity(Task, create=CreateTask, update=UpdateTask, read=ReadTask)


@entity.command("start", emits="started", raises=(IllegalTransition,))
async def start(session: AsyncSession, request: RowRef) -> Task:
    """Begin; the task must be pending."""
    task = await crud.get(session, Task, request.id, request.version)
    task.move_to(TaskStatus.IN_PROGRESS)
    return task


@entity.command("complete", emits="completed", raises=(IllegalTransition,))
async def complete(session: AsyncSession, request: RowRef) -> Task:
    """It is done; the task must be pending or in progress."""
    task = await crud.get(session, Task, request.id, request.version)
    task.move_to(TaskStatus.COMPLETED)
    task.completed_at = now()
    return task


@entity.command("cancel", emits="cancelled", raises=(IllegalTransition,))
async def cancel(session: AsyncSession, request: RowRef) -> Task:
    """Give it up; the task must be pending or in progress."""
    task = await crud.get(session, Task, request.id, request.version)
    task.move_to(TaskStatus.CANCELLED)
    return task


@entity.query("search")
async def search(session: AsyncSession, request: SearchTasks) -> list[Task]:
    """The newest tasks that hold a text."""
    columns = [Task.title] if request.title_only else [Task.title, Task.description]
    holding = (column.icontains(request.text, autoescape=True) for column in columns)
    found = select(Task).where(or_(*holding))
    if request.user_id:
        found = found.where(Task.user_id == request.user_id)
    newest = found.order_by(Task.created_at.desc(), Task.id).limit(request.limit)
    return list(await crud.select(session, Task, newest))


@user.entity.query("with_tasks")
async def with_tasks(session: AsyncSession, request: Id) -> UserWithTasks:
    """A user and the newest 1,000 of their tasks."""
    owner = await crud.get(session, User, request.id)
    tasks = await crud.list(session, Task, {"user_id": owner.id}, limit=1000)
    read = [ReadTask.model_validate(task) for task in tasks]
    return _with(ReadUser.model_validate(owner), UserWithTasks, tasks=read)


@user.entity.query("task_counts")
async def task_counts(session: AsyncSession, request: Id) -> TaskCounts:
    """How many tasks of each status a user has."""
    owner = await crud.get(session, User, request.id)
    return (await _count(session, [owner.id]))[owner.id]


@user.entity.query("list_with_task_counts")
async def list_with_task_counts(session: AsyncSession, request: ListWithTaskCounts) -> UsersWithTaskCounts:
    """A page of users by name, and how many tasks of each status each has."""
    found = await crud.list(session, User, {}, ["username"], limit=request.limit + 1, offset=request.offset)
    users, more = found[: request.limit], len(found) > request.limit
    counts = await _count(session, [each.id for each in users])
    items = [_with(ReadUser.model_validate(each), UserWithTaskCounts, task_counts=counts[each.id]) for each in users]
    return UsersWithTaskCounts(items=items, next=request.offset + request.limit if more else None)


async def _count(session: AsyncSession, user_ids: Sequence[UUID]) -> dict[UUID, TaskCounts]:
    counted = select(Task.user_id, Task.status, func.count()).where(Task.user_id.in_(user_ids))
    counts: dict[UUID, dict[str, int]] = {user_id: {} for user_id in user_ids}
    for user_id, status, count in await session.execute(counted.group_by(Task.user_id, Task.status)):
        counts[user_id][status.value] = count
    return {user_id: TaskCounts(**each) for user_id, each in counts.items()}


def _with[S: ReadUser](read: ReadUser, schema: type[S], **more: Any) -> S:
    """The same user, and what the larger schema has besides."""
    values: dict[str, Any] = read.model_dump()
    return schema(**values, **more)
