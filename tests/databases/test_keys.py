"""Text in an index is of a type that every database indexes, or its entity is refused as it is declared."""

import pytest
from sqlalchemy import Index, MetaData, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from src.base import IndexedText, Record


def test_text_in_an_index_is_a_key_or_one_clear_error() -> None:
    class Apart(Record):
        __abstract__ = True
        metadata = MetaData()

    with pytest.raises(TypeError, match=r"Forgetful\.title: text in an index is Mapped\[Key\]"):

        class Forgetful(Apart):
            __tablename__ = "forgetful"
            title: Mapped[str] = mapped_column(index=True)

    with pytest.raises(TypeError, match=r"Double\.one, Double\.two: "):

        class Double(Apart):
            __tablename__ = "double"
            __table_args__ = (UniqueConstraint("one", "two"),)
            one: Mapped[IndexedText]
            two: Mapped[str]

    with pytest.raises(TypeError, match=r"no more than three of them together"):

        class Long(Apart):
            __tablename__ = "long"
            __table_args__ = (Index(None, "a", "b", "c", "d"),)
            a: Mapped[IndexedText]
            b: Mapped[IndexedText]
            c: Mapped[IndexedText]
            d: Mapped[IndexedText]

    class Fine(Apart):
        __tablename__ = "fine"
        title: Mapped[IndexedText | None] = mapped_column(index=True)
        text: Mapped[str]

    assert Fine.__tablename__ == "fine"
