"""A user of the platform."""

from typing import Annotated

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from src import crud
from src.base import JSON, UNCHANGED, IndexedText, ReadSchema, Record, Schema
from src.entity import Entity
from src.errors import NotFound

Username = Annotated[str, Field(min_length=1, max_length=200)]
Email = Annotated[str, Field(max_length=320)]


class User(Record):
    __tablename__ = "users"

    username: Mapped[IndexedText] = mapped_column(unique=True)
    email: Mapped[str | None]
    name: Mapped[str | None]
    attributes: Mapped[JSON] = mapped_column(default=dict, server_default="{}")


class CreateUser(Schema):
    username: Username
    email: Email | None = None
    name: str | None = None
    attributes: JSON = Field(default_factory=dict)


class UpdateUser(Schema):
    username: Username = UNCHANGED
    email: Email | None = UNCHANGED
    name: str | None = UNCHANGED
    attributes: JSON = UNCHANGED


class ReadUser(ReadSchema):
    username: str
    email: str | None
    name: str | None
    attributes: JSON


class GetByUsername(Schema):
    username: Username


class UsernameExists(Schema):
    exists: bool


entity = Entity(User, create=CreateUser, update=UpdateUser, read=ReadUser)


@entity.query("get_by_username", raises=(NotFound,))
async def get_by_username(session: AsyncSession, request: GetByUsername) -> User:
    """The user who has this name."""
    return await crud.find(session, User, username=request.username)


@entity.query("username_exists")
async def username_exists(session: AsyncSession, request: GetByUsername) -> UsernameExists:
    """Whether a user has this name."""
    return UsernameExists(exists=await crud.exists(session, User, {"username": request.username}))
