"""A new entity, of which all that is needed is here, and one whose operations go wrong."""

import contextlib
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, MetaData, String, exc, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src import base, crud, models
from src.base import RowRef
from src.entity import Entity
from src.errors import IllegalTransition
from src.models.session import Session


class OfTests(base.Record):
    """Tables that no migration knows."""

    __abstract__ = True
    metadata = MetaData(naming_convention=base.NAMING)


class Note(OfTests):
    __tablename__ = "notes"
    __table_args__ = (
        CheckConstraint("number >= 0", name="number"),
        CheckConstraint("length(code) <= 5", name="code"),  # to SQLite a column has no length
    )

    session_id: Mapped[UUID] = mapped_column(ForeignKey(Session.__table__.c.id, ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(unique=True)
    code: Mapped[str | None] = mapped_column(String(5))

    session: Mapped[Session] = relationship(Session, lazy="raise")


class CreateNote(base.Schema):
    session_id: UUID
    number: int
    code: str | None = None


class UpdateNote(base.Schema):
    number: int = base.UNCHANGED
    code: str | None = base.UNCHANGED


class ReadNote(base.ReadSchema):
    session_id: UUID
    number: int
    code: str | None


class ByNumber(base.Schema):
    number: int


note = Entity(Note, create=CreateNote, update=UpdateNote, read=ReadNote)


@note.command("file", emits="filed")
async def file(session: AsyncSession, request: RowRef) -> Note:
    return await crud.update(session, Note, request.id, {"code": "filed"}, request.version)


@note.query("by_number")
async def by_number(session: AsyncSession, request: ByNumber) -> Note:
    return await crud.find(session, Note, number=request.number)


class Retitle(base.Schema):
    id: UUID
    title: str


@note.command("retitle", emits="retitled")
async def retitle(session: AsyncSession, request: Retitle) -> Note:
    """Change a row that the request does not name."""
    row = await crud.get(session, Note, request.id)
    await crud.update(session, Session, row.session_id, {"title": request.title})
    return row


trouble = Entity(Note, read=ReadNote, delete=False, name="trouble")
"""What can go wrong in an operation: none of its handlers is as it should be."""
TOO_LONG = "too long"


@trouble.command("break", emits="broken")
async def break_(session: AsyncSession, request: RowRef) -> object:
    raise ZeroDivisionError("what the request said")


@trouble.command("change_and_break", emits="broken")
async def change_and_break(session: AsyncSession, request: RowRef) -> object:
    await file(session, request)
    raise ZeroDivisionError("what the request said")


@trouble.command("change_and_refuse", emits="refused")
async def change_and_refuse(session: AsyncSession, request: RowRef) -> object:
    await file(session, request)
    raise IllegalTransition


@trouble.command("make_too_large", emits="made")
async def make_too_large(session: AsyncSession, request: RowRef) -> object:
    return await crud.create(session, Note, session_id=await _session_of(session, request), number=2**63)


@trouble.command("make_too_long", emits="made")
async def make_too_long(session: AsyncSession, request: RowRef) -> object:
    return await crud.create(session, Note, session_id=await _session_of(session, request), number=1000, code=TOO_LONG)


@trouble.command("change_to_too_long", emits="changed")
async def change_to_too_long(session: AsyncSession, request: RowRef) -> object:
    return await crud.update(session, Note, request.id, {"code": TOO_LONG})


async def _session_of(session: AsyncSession, request: RowRef) -> UUID:
    return (await crud.get(session, Note, request.id)).session_id


@trouble.command("empty", emits="emptied")
async def empty(session: AsyncSession, request: RowRef) -> object:
    await session.execute(text("UPDATE notes SET number = NULL"))
    return await file(session, request)


@trouble.command("misspell", emits="misspelt")
async def misspell(session: AsyncSession, request: RowRef) -> object:
    await session.execute(text("SELEKT 1"))
    return await file(session, request)


DAWDLING = {  # SQLite's statements may take as long as they take: there it is a bug like any other
    "postgresql": ("SET LOCAL statement_timeout = 20", "SELECT pg_sleep(10)"),
    "mysql": ("SET STATEMENT max_statement_time = 0.02 FOR SELECT sleep(10)",),
}


@trouble.command("dawdle", emits="dawdled")
async def dawdle(session: AsyncSession, request: RowRef) -> object:
    for statement in DAWDLING[session.get_bind().dialect.name]:
        await session.execute(text(statement))
    return await file(session, request)


@trouble.command("hide", emits="hidden")
async def hide(session: AsyncSession, request: RowRef) -> object:
    row = await file(session, request)
    with contextlib.suppress(exc.DBAPIError):
        await session.execute(text("SELEKT 1"))
    return row


@trouble.command("bulk_and_refuse", emits="refused")
async def bulk_and_refuse(session: AsyncSession, request: RowRef) -> object:
    """Change every row by a statement of its own, then refuse."""
    await session.execute(update(Note).values(code="bulk"))
    raise IllegalTransition


@trouble.command("try_to_create", emits="tried")
async def try_to_create(session: AsyncSession, request: RowRef) -> object:
    """Make a row under a savepoint of its own, and take it back."""
    row = await file(session, request)
    with contextlib.suppress(LookupError):
        async with session.begin_nested():
            await crud.create(session, Note, session_id=row.session_id, number=777)
            raise LookupError
    return row


@trouble.command("babble", emits="babbled")
async def babble(session: AsyncSession, request: RowRef) -> object:
    await file(session, request)
    return {"what": object()}


ENTITIES = (*models.entities(), note, trouble)
