"""The types of our columns: each holds the same values, compares and sorts them alike on every database.

Text compares and sorts by code point, UUIDs by their bytes; a time has microseconds, in UTC. A migration does not use
these but those of ``migrations/columns.py``, which never change.
"""

from datetime import UTC, datetime
from enum import Enum
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.functions import FunctionElement

from src.errors import Invalid
from src.json_values import same

MYSQL = ("mysql", "mariadb")
KEY = 255
"""The most characters of a text that is indexed: MariaDB indexes none of any length."""
LARGEST_INDEX, CHARACTER = 3072, 4  # bytes, to MariaDB

_IN_ANY_CASE = {
    operators.ilike_op,
    operators.not_ilike_op,
    operators.icontains_op,
    operators.not_icontains_op,
    operators.istartswith_op,
    operators.not_istartswith_op,
    operators.iendswith_op,
    operators.not_iendswith_op,
}


class _Over[T](sa.types.TypeDecorator[T]):
    """Works over any type of its kind."""

    impl = sa.types.TypeEngine
    cache_ok = True

    def __init__(self, impl: sa.types.TypeEngine[T]) -> None:
        super().__init__()
        self.impl = impl  # type: ignore[assignment] # the class says which by default


class _WithoutNul(_Over[str]):
    """Text of a database that would take a NUL, which PostgreSQL refuses."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        if value is not None and "\0" in value:
            raise Invalid("A text holds a NUL.")
        return value


class _Cased(FunctionElement[str]):
    """The same text, all of whose letters have two cases: to PostgreSQL's ``COLLATE "C"`` those of ASCII do."""

    type = sa.Text().with_variant(_WithoutNul(sa.Text()), "sqlite", *MYSQL)
    inherit_cache = True


@compiles(_Cased)
def _as_it_is(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(_Cased, "postgresql")
def _collated(element: Any, compiler: Any, **options: Any) -> str:
    return f'({compiler.process(element.clauses, **options)} COLLATE "default")'


class _Text(sa.Text):
    """Text that says ``icontains`` and the like of all letters."""

    class Comparator(sa.Text.Comparator[str]):
        def operate(self, op: Any, *other: Any, **options: Any) -> sa.ColumnElement[Any]:
            if op in _IN_ANY_CASE:
                return _Cased(self.expr).operate(op, *other, **options)
            return super().operate(op, *other, **options)

    comparator_factory = Comparator


class _Utc(_Over[datetime]):
    """A time in a database that knows no zones."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        return value and value.replace(tzinfo=UTC)


class Word(sa.Enum):
    """One of a few words, kept as text."""


@compiles(Word, "postgresql")
def _by_code_point(element: Any, compiler: Any, **options: Any) -> str:
    kind = str(compiler.visit_VARCHAR(element, **options))
    return f'{kind} COLLATE "C"' if isinstance(options.get("type_expression"), sa.Column) else kind  # not in a cast


def word(kind: type[Enum]) -> Word:
    """The type of one of the values of ``kind``."""
    return Word(kind, native_enum=False, length=20, values_callable=lambda kind: [each.value for each in kind])


class ExactJSON(sa.JSON):
    """A JSON column that tells ``true`` from ``1``, also when SQLAlchemy asks what has changed."""

    def compare_values(self, x: object, y: object) -> bool:
        return same(x, y)


@compiles(ExactJSON, *MYSQL)
def _of_any_depth(_element: Any, _compiler: Any, **_options: Any) -> str:
    """MariaDB's own JSON is the same text with a check that refuses what is nested more than 32 deep."""
    return "LONGTEXT"


def _text(mysql_: sa.types.TypeEngine[str]) -> sa.Text:
    by_code_point = _Text(collation="C")  # which every image of PostgreSQL has, and the same
    text = _Text().with_variant(by_code_point, "postgresql").with_variant(_WithoutNul(mysql_), *MYSQL)
    return text.with_variant(_WithoutNul(sa.Text()), "sqlite")


Text = _text(mysql.LONGTEXT())
IndexedText = _text(sa.String(KEY))
"""Text that is in an index or a unique constraint; its schema says a ``max_length`` of no more than ``KEY``."""
Number: sa.Double[float] = sa.Double()
Moment = sa.DateTime(timezone=True).with_variant(_Utc(mysql.DATETIME(fsp=6)), *MYSQL)
Moment = Moment.with_variant(_Utc(sa.DateTime()), "sqlite")
Identifier = sa.Uuid().with_variant(sa.Uuid(native_uuid=False), *MYSQL)
"""MariaDB's own UUIDs do not sort by their bytes."""
JSON = ExactJSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
Digest = sa.LargeBinary(32).with_variant(mysql.BINARY(32), *MYSQL)
"""A sha256."""
Blob = sa.LargeBinary().with_variant(mysql.LONGBLOB(), *MYSQL)


def longest(kind: sa.String) -> int | None:
    """How many characters the text has at the most, on the database that takes least; None where that is no matter."""
    return cast("sa.String", kind.dialect_impl(mysql.dialect())).length


def check_indexes(model: str, table: sa.Table) -> None:
    """Raise TypeError where a text is indexed that MariaDB cannot index."""
    for index in (*table.indexes, *table.constraints):
        if isinstance(index, (sa.Index, sa.UniqueConstraint, sa.PrimaryKeyConstraint)):
            texts = {each.key: each.type for each in index.columns if isinstance(each.type, sa.String)}
            if sum(CHARACTER * (longest(kind) or LARGEST_INDEX) for kind in texts.values()) > LARGEST_INDEX:
                names = ", ".join(f"{model}.{name}" for name in texts)
                raise TypeError(f"{names}: text in an index is Mapped[Key], and no more than three of them together")
