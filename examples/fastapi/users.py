"""Users."""

from uuid import UUID

from fastapi import APIRouter

from examples.fastapi.paging import Page, Paging
from src import crud
from src.library import CreateUser, CurrentReading, CurrentSession, ReadUser, UpdateUser, User

router = APIRouter(prefix="/users")


@router.post("", status_code=201)
async def create(session: CurrentSession, body: CreateUser) -> ReadUser:
    return ReadUser.model_validate(await crud.create(session, User, **body.__dict__))


@router.get("")
async def page(session: CurrentReading, paging: Paging) -> Page[ReadUser]:
    found = await crud.list(session, User, {}, ["username"], paging.limit + 1, paging.offset)
    return paging.page([ReadUser.model_validate(each) for each in found])


@router.get("/{user_id}")
async def get(session: CurrentReading, user_id: UUID) -> ReadUser:
    return ReadUser.model_validate(await crud.get(session, User, user_id))


@router.patch("/{user_id}")
async def update(session: CurrentSession, user_id: UUID, body: UpdateUser, version: int | None = None) -> ReadUser:
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    user = await crud.update(session, User, user_id, changes, version)
    await session.flush()  # which counts the version that is answered
    return ReadUser.model_validate(user)


@router.delete("/{user_id}", status_code=204)
async def delete(session: CurrentSession, user_id: UUID, version: int | None = None) -> None:
    await crud.delete(session, User, user_id, version)
