"""A room on a messaging platform, and who is in it."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src import crud, errors
from src.base import JSON, UNCHANGED, Base, IndexedText, ReadSchema, Record, RowRef, Schema
from src.entity import Entity
from src.models.user import User

Name = Annotated[str, Field(min_length=1, max_length=200)]
UserIds = Annotated[list[UUID], Field(min_length=1, max_length=1000)]


class ChatKind(StrEnum):
    PRIVATE = "private"
    GROUP = "group"
    CHANNEL = "channel"


class Member(Base):
    """A user's being in a chat."""

    __tablename__ = "chat_members"
    __table_args__ = (UniqueConstraint("chat_id", "user_id"),)

    chat_id: Mapped[UUID] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)

    user: Mapped[User] = relationship(lazy="raise")


class Chat(Record):
    __tablename__ = "chats"
    __table_args__ = (UniqueConstraint("platform", "external_id"),)

    platform: Mapped[IndexedText]
    external_id: Mapped[IndexedText]
    title: Mapped[str | None]
    kind: Mapped[ChatKind] = mapped_column(default=ChatKind.PRIVATE, server_default="private")
    meta: Mapped[JSON] = mapped_column("metadata", default=dict, server_default="{}")

    members: Mapped[list[Member]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", passive_deletes=True, order_by=Member.user_id
    )

    @property
    def member_ids(self) -> list[UUID]:
        """The users who are in it."""
        return sorted(member.user_id for member in self.members)


class CreateChat(Schema):
    platform: Name
    external_id: Name
    title: str | None = None
    kind: ChatKind = ChatKind.PRIVATE
    meta: JSON = Field(default_factory=dict)


class UpdateChat(Schema):
    platform: Name = UNCHANGED
    external_id: Name = UNCHANGED
    title: str | None = UNCHANGED
    kind: ChatKind = UNCHANGED
    meta: JSON = UNCHANGED


class ReadChat(ReadSchema):
    platform: str
    external_id: str
    title: str | None
    kind: ChatKind
    meta: JSON
    member_ids: list[UUID]


class ChangeMembers(RowRef):
    user_ids: UserIds


entity = Entity(Chat, create=CreateChat, update=UpdateChat, read=ReadChat)


@entity.command("add_members", emits="members_added", raises=(errors.ForeignKey,))
async def add_members(session: AsyncSession, request: ChangeMembers) -> Chat:
    """Let users in; those who are in it already stay. Each must exist."""
    chat = await crud.get(session, Chat, request.id, request.version)
    await crud.check_exist(session, User, request.user_ids, "user_ids")
    present = set(chat.member_ids)
    chat.members.extend(
        Member(user_id=user_id) for user_id in dict.fromkeys(request.user_ids) if user_id not in present
    )
    return chat


@entity.command("remove_members", emits="members_removed")
async def remove_members(session: AsyncSession, request: ChangeMembers) -> Chat:
    """Let users go; those who are not in it are no error."""
    chat = await crud.get(session, Chat, request.id, request.version)
    gone = set(request.user_ids)
    chat.members = [member for member in chat.members if member.user_id not in gone]
    return chat
