"""What was said in a chat."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src import crud
from src.base import JSON, UNCHANGED, ReadSchema, Record, Schema
from src.entity import Entity
from src.errors import ForeignKey, NotFound
from src.models.chat import Chat
from src.models.user import User


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


class Message(Record):
    __tablename__ = "messages"

    chat_id: Mapped[UUID] = mapped_column(sa.ForeignKey("chats.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"), index=True)
    role: Mapped[Role]
    content: Mapped[str]
    reply_to_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("messages.id", ondelete="SET NULL"), index=True)
    meta: Mapped[JSON] = mapped_column("metadata", default=dict, server_default="{}")

    chat: Mapped[Chat] = relationship(lazy="raise")
    user: Mapped[User | None] = relationship(lazy="raise")
    reply_to: Mapped["Message | None"] = relationship(lazy="raise", remote_side="Message.id")


class CreateMessage(Schema):
    chat_id: UUID
    user_id: UUID | None = None
    role: Role
    content: str
    reply_to_id: UUID | None = None
    meta: JSON = Field(default_factory=dict)


class UpdateMessage(Schema):
    content: str = UNCHANGED
    meta: JSON = UNCHANGED


class ReadMessage(ReadSchema):
    chat_id: UUID
    user_id: UUID | None
    role: Role
    content: str
    reply_to_id: UUID | None
    meta: JSON


class SearchMessages(Schema):
    """``text`` is found anywhere in the content, in any case."""

    text: Annotated[str, Field(min_length=1, max_length=200)]
    chat_id: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 50


entity = Entity(Message, create=CreateMessage, update=UpdateMessage, read=ReadMessage)


@entity.command("create", emits="created")
async def create(session: AsyncSession, request: CreateMessage) -> Message:
    """Say something; what it replies to must have been said in the same chat."""
    if request.reply_to_id is not None:
        await _check_reply(session, request.reply_to_id, request.chat_id)
    return await crud.create(session, Message, **request.__dict__)


@entity.query("search")
async def search(session: AsyncSession, request: SearchMessages) -> list[Message]:
    """The newest messages that hold a text."""
    found = sa.select(Message).where(Message.content.icontains(request.text, autoescape=True))
    if request.chat_id:
        found = found.where(Message.chat_id == request.chat_id)
    newest = found.order_by(Message.created_at.desc(), Message.id).limit(request.limit)
    return list(await crud.select(session, Message, newest))


async def _check_reply(session: AsyncSession, message_id: UUID, chat_id: UUID) -> None:
    """Raise ForeignKey where there is no such message in the chat."""
    try:
        message = await crud.get(session, Message, message_id)
    except NotFound:
        raise ForeignKey(errors=[crud.error("reply_to_id", "names no message")]) from None
    if message.chat_id != chat_id:
        raise ForeignKey(errors=[crud.error("reply_to_id", "names a message of another chat")])
