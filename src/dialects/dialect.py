"""What a database has to be for the service, and is in its own way."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import exc

from src.dialects import types

LOCK_TIMEOUT, STATEMENT_TIMEOUT, IDLE_TIMEOUT = 10, 30, 60  # seconds; the server ends what the client has forgotten
CONNECT_TIMEOUT = 10  # seconds
COMMAND_TIMEOUT = 60  # seconds: a connection that says nothing for longer is dead
MIGRATION_PATIENCE = 2  # seconds that a migration waits for a lock before it lets others pass

type Arrays = Mapping[str, Sequence[Any]]
"""Rows, as the values of each of their columns."""


def row_by_row(rows: Arrays) -> list[dict[str, Any]]:
    """The same for drivers that take rows one by one, each as the values of its columns."""
    return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]


@dataclass(frozen=True)
class Engine:
    """What ``create_async_engine`` is called with."""

    url: sa.URL
    arguments: Mapping[str, Any]
    single: bool = False
    """Whether no second engine would find the same database."""


@dataclass(frozen=True)
class Flaw:
    """Something about a database, said after what it is about; ``grave`` where it breaks the promise."""

    what: str
    remedy: str
    grave: bool = True


def probe(writable: str, time: str) -> sa.TextualSelect:
    """The statement that asks both."""
    columns = sa.column("writable", sa.Boolean), sa.column("time", types.Moment)
    return sa.text(f"SELECT {writable} AS writable, {time} AS time").columns(*columns)


class Dialect(ABC):
    """One kind of database. There is one instance of each."""

    name: ClassVar[str]
    """For people."""
    driver: ClassVar[str]
    """The package of the driver."""
    extra: ClassVar[str] = ""
    """The extra of ours that installs the driver; empty where it is always there."""
    port: ClassVar[int] = 0
    """Where the server listens unless told otherwise."""
    probe: ClassVar[sa.TextualSelect]
    """Answers with one row: whether the database takes writes, and its time."""
    reading: ClassVar[Mapping[str, Any]]
    """Execution options of a transaction that sees one state and changes nothing."""
    reading_once: ClassVar[Mapping[str, Any]]
    """Those of one statement that reads."""
    facts: ClassVar[sa.TextClause]
    """Answers with one row, for ``unfit`` and ``unsafe``: its ``version`` and its most ``connections`` among others."""
    lacking: ClassVar[sa.TextClause | None] = None
    """Which right on which of the tables called ``:names`` our login lacks; None where there are no rights."""
    remembered: ClassVar[sa.TextClause]
    """About how many rows the inbox has."""
    offline: ClassVar[str]
    """The first statement of migrations that are written as SQL: to wait a moment only, as ``begin_migration`` says."""
    transactional_ddl: ClassVar[bool] = True
    """Whether a migration that fails has changed nothing."""
    tells_defaults: ClassVar[bool] = True
    """Whether it tells the defaults of columns as they were written, to be compared with the models'."""
    meanings: ClassVar[Mapping[str, type[Exception]]]
    """What errors mean, by the beginnings of their codes; the longest that fits counts."""
    no_login: ClassVar[tuple[str, ...]]
    """Beginnings of the codes that say: this login will never do."""

    @abstractmethod
    def engine(self, url: sa.URL, application_name: str, *, patient: bool = False) -> Engine:
        """The engine for a ``DATABASE_URL``; a ``patient`` one lets a statement take as long as it takes."""

    def prepare(self, engine: sa.Engine) -> None:  # noqa: B027 - most need not
        """Listen to what has to be done as a connection or a transaction begins."""

    def place(self, url: sa.URL) -> str:
        """Where that is, for people, without the password."""
        return f"{url.host}:{url.port or self.port}"

    @abstractmethod
    def code(self, error: object) -> str:
        """The code of one of the driver's errors; empty where it is none, or has none."""

    def meaning(self, error: object) -> type[Exception] | None:
        """What one of the driver's errors is to us; None where it is none, or means nothing special."""
        code = self.code(error)
        fitting = [beginning for beginning in self.meanings if code.startswith(beginning)]
        return self.meanings[max(fitting, key=len)] if fitting else None

    def refuses_login(self, error: exc.DBAPIError) -> bool:
        """Whether to try again with this login is in vain."""
        return self.code(error.orig).startswith(self.no_login)

    # Examination

    def absent(self, url: sa.URL) -> Flaw | None:  # noqa: ARG002 - a server says so itself
        """What to say instead of connecting, which would make what is not there."""
        return None

    @abstractmethod
    def unfit(self, facts: Any, largest: int) -> Iterator[Flaw]:
        """What is wrong with the server, whose largest answer has that many bytes."""

    @abstractmethod
    def unsafe(self, facts: Any) -> Iterator[Flaw]:
        """What may lose what was committed."""

    def untrusted(self, url: sa.URL) -> str:  # noqa: ARG002 - not every one is a server
        """What to do so that the server has to show a certificate; empty where it has to."""
        return ""

    # Statements

    @abstractmethod
    def among(self, column: Any, parameter: str) -> sa.ColumnElement[bool]:
        """Whether the column's value is in the list that the parameter of this name is."""

    @abstractmethod
    def insertion(self, table: sa.Table, rows: Arrays, *, new: bool = False) -> tuple[sa.Insert, Any]:
        """The statement that inserts these rows, and its parameters; with ``new`` only those whose key is free."""

    def nulls(self, column: sa.UnaryExpression[Any], *, first: bool) -> Sequence[sa.ColumnElement[Any]]:
        """What to order by so that nulls come first, or last; ``column`` is one that ascends or descends."""
        return [column.nulls_first() if first else column.nulls_last()]

    # Migrations

    @abstractmethod
    def begin_migration(self, connection: sa.Connection) -> None:
        """Wait until nobody else migrates; from now on wait a moment only for a table that others use."""

    @abstractmethod
    def locked(self, error: exc.DBAPIError) -> bool:
        """Whether a migration has met a table that others use."""

    # Serving

    @contextmanager
    def alone(self, url: sa.URL) -> Iterator[None]:  # noqa: ARG002 - most may be served by several
        """Serve a database that only one process may serve. Raises Unservable."""
        yield


class Unservable(Exception):
    """This database cannot be served, or not now; the message says why."""
