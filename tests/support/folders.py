"""Entities that are there for the tests, with a foreign key of every kind.

Folders hold papers (CASCADE) and folders (CASCADE); papers answer papers (SET NULL); stickers are on papers and in
folders (SET NULL).
"""

from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship

from src import base
from src.base import JSON, UNCHANGED, Record, Schema
from src.entity import Entity


class OfFolders(Record):
    """Tables that no migration knows."""

    __abstract__ = True
    metadata = MetaData(naming_convention=base.NAMING)

    text: Mapped[str | None]
    meta: Mapped[JSON] = mapped_column("metadata", default=dict, server_default="{}")


class Folder(OfFolders):
    __tablename__ = "folders"

    name: Mapped[base.IndexedText] = mapped_column(unique=True)
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("folders.id", ondelete="CASCADE"), index=True)

    parent: Mapped["Folder | None"] = relationship(lazy="raise", remote_side="Folder.id")


class Paper(OfFolders):
    __tablename__ = "papers"

    folder_id: Mapped[UUID] = mapped_column(ForeignKey("folders.id", ondelete="CASCADE"), index=True)
    code: Mapped[base.IndexedText | None] = mapped_column(unique=True)
    answers_id: Mapped[UUID | None] = mapped_column(ForeignKey("papers.id", ondelete="SET NULL"), index=True)

    folder: Mapped[Folder] = relationship(lazy="raise")
    answers: Mapped["Paper | None"] = relationship(lazy="raise", remote_side="Paper.id")


class Sticker(OfFolders):
    __tablename__ = "stickers"

    paper_id: Mapped[UUID | None] = mapped_column(ForeignKey("papers.id", ondelete="SET NULL"), index=True)
    folder_id: Mapped[UUID | None] = mapped_column(ForeignKey("folders.id", ondelete="SET NULL"), index=True)

    paper: Mapped[Paper | None] = relationship(lazy="raise")
    folder: Mapped[Folder | None] = relationship(lazy="raise")


class Noted(Schema):
    text: str | None = UNCHANGED
    meta: JSON = UNCHANGED


class CreateFolder(Schema):
    name: str
    parent_id: UUID | None = None
    text: str | None = None
    meta: JSON = Field(default_factory=dict)


class UpdateFolder(Noted):
    name: str = UNCHANGED
    parent_id: UUID | None = UNCHANGED


class ReadFolder(base.ReadSchema):
    name: str
    parent_id: UUID | None
    text: str | None
    meta: JSON


class CreatePaper(Schema):
    folder_id: UUID
    code: str | None = None
    answers_id: UUID | None = None
    text: str | None = None
    meta: JSON = Field(default_factory=dict)


class UpdatePaper(Noted):
    folder_id: UUID = UNCHANGED
    code: str | None = UNCHANGED
    answers_id: UUID | None = UNCHANGED


class ReadPaper(base.ReadSchema):
    folder_id: UUID
    code: str | None
    answers_id: UUID | None
    text: str | None
    meta: JSON


class CreateSticker(Schema):
    paper_id: UUID | None = None
    folder_id: UUID | None = None
    text: str | None = None


class UpdateSticker(Noted):
    paper_id: UUID | None = UNCHANGED
    folder_id: UUID | None = UNCHANGED


class ReadSticker(base.ReadSchema):
    paper_id: UUID | None
    folder_id: UUID | None
    text: str | None
    meta: JSON


folder = Entity(Folder, create=CreateFolder, update=UpdateFolder, read=ReadFolder)
paper = Entity(Paper, create=CreatePaper, update=UpdatePaper, read=ReadPaper)
sticker = Entity(Sticker, create=CreateSticker, update=UpdateSticker, read=ReadSticker)
ENTITIES = (folder, paper, sticker)
