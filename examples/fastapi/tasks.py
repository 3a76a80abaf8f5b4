"""The tasks of a user."""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from examples.fastapi.paging import Page, Paging
from src import crud
from src.base import RowRef
from src.library import CurrentReading, CurrentSession, ReadTask, Task, TaskStatus
from src.models import task

router = APIRouter()


class NewTask(BaseModel):
    title: str
    description: str | None = None


@router.post("/users/{user_id}/tasks", status_code=201)
async def create(session: CurrentSession, user_id: UUID, body: NewTask) -> ReadTask:
    return ReadTask.model_validate(await crud.create(session, Task, user_id=user_id, **body.model_dump()))


@router.get("/users/{user_id}/tasks")
async def page(
    session: CurrentReading, user_id: UUID, paging: Paging, status: TaskStatus | None = None
) -> Page[ReadTask]:
    where = {"user_id": user_id} | ({"status": status} if status else {})
    found = await crud.list(session, Task, where, limit=paging.limit + 1, offset=paging.offset)
    return paging.page([ReadTask.model_validate(each) for each in found])


@router.post("/tasks/{task_id}/complete")
async def complete(session: CurrentSession, task_id: UUID) -> ReadTask:
    """As the service's own operation does: what it is made of are functions."""
    completed = await task.complete(session, RowRef(id=task_id))
    await session.flush()  # which counts the version that is answered
    return ReadTask.model_validate(completed)
