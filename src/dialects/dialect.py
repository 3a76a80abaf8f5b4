"""The interface of a database dialect: connection, error codes, checks of the server, SQL statements."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import exc

from src.dialects import types

LOCK_TIMEOUT = 10  # seconds: a statement waits so long for a lock, then its transaction runs again
STATEMENT_TIMEOUT = 30  # seconds: the server ends a statement that the client may have given up
IDLE_TIMEOUT = 60  # seconds: the server ends an idle transaction, whose locks the client may have abandoned
CONNECT_TIMEOUT = 10  # seconds: an unreachable server is an outage after that
COMMAND_TIMEOUT = 60  # seconds: a connection without an answer is dead; longer than STATEMENT_TIMEOUT
MIGRATION_LOCK_TIMEOUT = 2  # seconds: a migration that waits for a table's lock blocks later statements on the table
MIGRATION_QUEUE_TIMEOUT = 600  # seconds: a migration waits so long for another migration to end

type Arrays = Mapping[str, Sequence[Any]]
"""Rows by column: the name of each column and the column's values."""


def row_by_row(rows: Arrays) -> list[dict[str, Any]]:
    """Return one dictionary a row, for drivers whose ``executemany`` takes rows."""
    return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]


@dataclass(frozen=True)
class EngineOptions:
    """The arguments of ``create_async_engine``.

    Each engine of a database ``in_memory`` has a database of its own.
    """

    url: sa.URL
    arguments: Mapping[str, Any]
    in_memory: bool = False


@dataclass(frozen=True)
class Issue:
    """Something wrong with a server. ``what`` continues a sentence that begins with the server's name.

    A ``serious`` issue breaks a guarantee of the service.
    """

    what: str
    remedy: str
    serious: bool = True


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What a driver's error names, without values. An empty text: the error does not name it."""

    code: str
    table: str = ""
    column: str = ""
    constraint: str = ""

    def __str__(self) -> str:
        named = {"code": self.code, "table": self.table, "column": self.column, "constraint": self.constraint}
        return ", ".join(f"{name} {value}" for name, value in named.items() if value)


def probe(writable: str, time: str) -> sa.TextualSelect:
    """Return the statement that selects these two SQL expressions."""
    columns = sa.column("writable", sa.Boolean), sa.column("time", types.Moment)
    return sa.text(f"SELECT {writable} AS writable, {time} AS time").columns(*columns)


class Dialect(ABC):
    """One kind of database. Each dialect has one instance."""

    name: ClassVar[str]
    """The database's name in messages."""
    driver: ClassVar[str]
    """The package of the driver."""
    extra: ClassVar[str] = ""
    """The extra of this package that installs the driver; empty where the driver is always installed."""
    port: ClassVar[int] = 0
    """The server's default port; 0 where the database has no server."""
    probe: ClassVar[sa.TextualSelect]
    """Selects one row: whether the database accepts writes, and the database's time."""
    read_options: ClassVar[Mapping[str, Any]]
    """Execution options of a read-only transaction that sees one snapshot."""
    single_read_options: ClassVar[Mapping[str, Any]]
    """Execution options of a single statement that reads."""
    server_info: ClassVar[sa.TextClause]
    """Selects one row for ``server_problems`` and ``durability_problems``.

    Its columns include ``version`` and ``connections``, the largest number of connections (NULL: unlimited).
    """
    missing_privileges: ClassVar[sa.TextClause | None] = None
    """Selects the privileges on the tables ``:names`` that the current user lacks. None: there are no privileges."""
    triggers: ClassVar[sa.TextClause]
    """Return name and table of what changes rows of the tables ``:names`` as they are written or read."""
    inbox_estimate: ClassVar[sa.TextClause]
    """Selects the approximate number of rows in the inbox."""
    offline_lock_timeout: ClassVar[str]
    """The first statement of a migration that is written as SQL; sets the lock timeout of ``begin_migration``."""
    transactional_ddl: ClassVar[bool] = True
    """Whether a failed migration is rolled back."""
    reports_server_defaults: ClassVar[bool] = True
    """Whether the database reports the defaults of columns as they were written, so that they can be compared."""
    error_codes: ClassVar[Mapping[str, type[Exception]]]
    """The exception for each error code or prefix of error codes; the longest matching prefix counts."""
    login_error_codes: ClassVar[tuple[str, ...]]
    """Prefixes of the codes of a refused login or a missing database."""

    @abstractmethod
    def engine_options(self, url: sa.URL, application_name: str, *, without_timeouts: bool = False) -> EngineOptions:
        """Return the engine's options for a ``DATABASE_URL``.

        ``without_timeouts`` is for migrations, whose statements may take any time.
        """

    def add_listeners(self, engine: sa.Engine) -> None:  # noqa: B027 - optional
        """Register the dialect's event listeners on a new engine."""

    def address(self, url: sa.URL) -> str:
        """Return where the database is, without the password."""
        return f"{url.host}:{url.port or self.port}"

    @abstractmethod
    def code(self, error: object) -> str:
        """Return the code of a driver's error; empty where the error has none or is of another driver."""

    def error_class(self, error: object) -> type[Exception] | None:
        """Return the exception that stands for a driver's error, or None."""
        code = self.code(error)
        fitting = [prefix for prefix in self.error_codes if code.startswith(prefix)]
        return self.error_codes[max(fitting, key=len)] if fitting else None

    def details(self, error: BaseException) -> ErrorDetails:
        """Return what a driver's error names."""
        return ErrorDetails(self.code(error).rstrip(";"))

    def refuses_login(self, error: exc.DBAPIError) -> bool:
        """Whether the database refuses the login; connecting again with this login would fail again."""
        return self.code(error.orig).startswith(self.login_error_codes)

    # Checks of the server

    def missing_file(self, url: sa.URL) -> Issue | None:  # noqa: ARG002 - a server reports a missing database
        """Return an issue where the database's file is missing. Connecting would create the file."""
        return None

    @abstractmethod
    def server_problems(self, info: Any, max_answer: int) -> Iterator[Issue]:
        """Yield what is wrong with the server. ``info`` is the row of ``server_info``, ``max_answer`` is in bytes."""

    @abstractmethod
    def durability_problems(self, info: Any) -> Iterator[Issue]:
        """Yield the settings by which a crash may lose a committed transaction."""

    def tls_problem(self, url: sa.URL) -> str:  # noqa: ARG002 - SQLite has no server
        """Return how to make the client verify the server's certificate; empty where it does."""
        return ""

    # Statements

    @abstractmethod
    def in_parameter(self, column: Any, parameter: str) -> sa.ColumnElement[bool]:
        """Return the condition that the column's value is in the list that is bound to this parameter."""

    @abstractmethod
    def insert_statement(self, table: sa.Table, rows: Arrays, *, skip_existing: bool = False) -> tuple[sa.Insert, Any]:
        """Return the statement that inserts these rows, and its parameters.

        ``skip_existing`` leaves out the rows whose key exists (``ON CONFLICT DO NOTHING``).
        """

    def order_nulls(self, column: sa.UnaryExpression[Any], *, first: bool) -> Sequence[sa.ColumnElement[Any]]:
        """Return the ORDER BY expressions that put nulls first or last. ``column`` is ascending or descending."""
        return [column.nulls_first() if first else column.nulls_last()]

    # Migrations

    def check_encoding(self, connection: sa.Connection) -> None:  # noqa: B027 - the encoding of most databases is fixed
        """Raise UnusableDatabase where the database's encoding does not hold every text."""

    @abstractmethod
    def begin_migration(self, connection: sa.Connection) -> None:
        """Wait until no other migration runs, then set the lock timeout to MIGRATION_LOCK_TIMEOUT."""

    @abstractmethod
    def is_lock_timeout(self, error: exc.DBAPIError) -> bool:
        """Whether a migration's statement has waited too long for a table's lock."""

    # Serving

    @contextmanager
    def exclusive(self, url: sa.URL) -> Iterator[None]:  # noqa: ARG002 - several processes may serve most databases
        """Lock a database that only one process may serve. Raises UnusableDatabase where another process has it."""
        yield


class UnusableDatabase(Exception):
    """The service cannot use this database, or not now; the message says why."""
