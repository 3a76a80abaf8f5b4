"""SQLite, by aiosqlite: one file, served by one process."""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, ClassVar, cast

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import AsyncAdaptedQueuePool

from src.dialects import dialect
from src.dialects.dialect import Arrays, Dialect, EngineOptions, ErrorDetails, Issue, UnusableDatabase, row_by_row
from src.errors import Conflict, ForeignKey, Invalid, TooLarge, Transient, Unavailable

READING = "sqlite_reading"
IN_MEMORY = "A database in memory is gone with its process: name a file."
ONE_CONNECTION: dict[str, Any] = {  # has a database in memory, which ends with it
    "poolclass": AsyncAdaptedQueuePool,
    "pool_size": 1,
    "max_overflow": 0,
    "pool_recycle": -1,
}
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "case_sensitive_like = ON")

OLDEST = (3, 37)  # whose writes and locks were looked at
FULL = 2  # PRAGMA synchronous


class SQLite(Dialect):
    """A transaction that writes says so as it begins: none has to give up because another was faster."""

    name = "SQLite"
    driver = "aiosqlite"
    extra = "sqlite"
    probe = dialect.probe("1", "strftime('%Y-%m-%d %H:%M:%f', 'now')")
    read_options: ClassVar = {READING: True}
    single_read_options: ClassVar = {READING: True}
    server_info = sa.text(
        """
        SELECT sqlite_version() AS version, NULL AS connections, file, journal_mode, synchronous
        FROM pragma_journal_mode, pragma_synchronous, pragma_database_list WHERE name = 'main'
        """
    )
    triggers = sa.text(
        "SELECT 'trigger ' || name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN :names"
    ).bindparams(sa.bindparam("names", expanding=True))
    inbox_estimate = sa.text("SELECT count(*) FROM inbox")
    offline_lock_timeout = f"PRAGMA busy_timeout = {dialect.LOCK_TIMEOUT}000"
    error_codes: ClassVar = {  # https://www.sqlite.org/rescode.html
        "SQLITE_BUSY": Transient,
        "SQLITE_LOCKED": Transient,
        "SQLITE_CANTOPEN": Unavailable,
        "SQLITE_CORRUPT": Unavailable,
        "SQLITE_FULL": Unavailable,
        "SQLITE_IOERR": Unavailable,
        "SQLITE_NOMEM": Unavailable,
        "SQLITE_NOTADB": Unavailable,
        "SQLITE_READONLY": Unavailable,
        "SQLITE_CONSTRAINT": Invalid,
        "SQLITE_CONSTRAINT_FOREIGNKEY": ForeignKey,
        "SQLITE_CONSTRAINT_PRIMARYKEY": Conflict,
        "SQLITE_CONSTRAINT_UNIQUE": Conflict,
        "SQLITE_MISMATCH": Invalid,
        "SQLITE_TOOBIG": TooLarge,
    }
    login_error_codes = ("SQLITE_CANTOPEN", "SQLITE_NOTADB")

    def engine_options(self, url: sa.URL, application_name: str, *, without_timeouts: bool = False) -> EngineOptions:  # noqa: ARG002 - no server
        in_memory = _in_memory(url)
        if in_memory and without_timeouts:  # as migrations are
            raise UnusableDatabase(IN_MEMORY)
        arguments: dict[str, Any] = {
            "async_creator_fn": _open,
            "check_same_thread": False,
            "isolation_level": None,
            "timeout": dialect.LOCK_TIMEOUT,
        }
        options = {"connect_args": arguments} | (ONE_CONNECTION if in_memory else {})
        return EngineOptions(url.set(drivername="sqlite+aiosqlite"), options, in_memory=in_memory)

    def add_listeners(self, engine: sa.Engine) -> None:
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "handle_error", _refuse, retval=True)

    def address(self, url: sa.URL) -> str:
        return url.database or ":memory:"

    def code(self, error: object) -> str:
        return getattr(error, "sqlite_errorname", None) or ""

    def details(self, error: BaseException) -> ErrorDetails:
        """The names come from the text: SQLite has no fields for them. A trigger counts as a constraint."""
        code, (_, _, named) = self.code(error), str(error).partition(": ")
        if code == "SQLITE_CONSTRAINT_TRIGGER":
            return ErrorDetails(code, constraint="of a trigger")
        if code == "SQLITE_CONSTRAINT_CHECK":
            return ErrorDetails(code, constraint=named)
        table, _, column = named.partition(".") if code == "SQLITE_CONSTRAINT_NOTNULL" else ("", "", "")
        return ErrorDetails(code, table=table, column=column)

    def missing_file(self, url: sa.URL) -> Issue | None:
        if _in_memory(url):
            return Issue("is gone with its process", "Name a file in DATABASE_URL")
        if not Path(str(url.database)).exists():
            return Issue("is not there", "Make it by ./db migrate, or correct DATABASE_URL")
        return None

    def server_problems(self, info: Any, max_answer: int) -> Iterator[Issue]:  # noqa: ARG002 - it takes a gigabyte
        if tuple(map(int, info.version.split(".")[:2])) < OLDEST:
            yield Issue("is old", f"Run {'.'.join(map(str, OLDEST))} or newer", serious=False)
        if not os.access(info.file, os.W_OK) or not os.access(Path(info.file).parent, os.W_OK):
            yield Issue("is read-only", "Let the service write the file and the folder that it is in")

    def durability_problems(self, info: Any) -> Iterator[Issue]:
        if info.journal_mode != "wal":
            yield Issue(f"has journal_mode={info.journal_mode}", "Put the file on a disk of this machine")
        if info.synchronous < FULL:
            yield Issue("does not wait for the disk: a crash of the machine loses what was committed", "Report a bug")

    def in_parameter(self, column: Any, parameter: str) -> sa.ColumnElement[bool]:
        """The list is one parameter: there may not be one for each of many values."""
        values = sa.func.json_each(sa.bindparam(parameter, type_=_List(column.type))).table_valued("value").c.value
        value = sa.func.bytes(values) if isinstance(column.type, sa.LargeBinary) else values
        return cast("sa.ColumnElement[bool]", column.in_(sa.select(value)))

    def insert_statement(self, table: sa.Table, rows: Arrays, *, skip_existing: bool = False) -> tuple[sa.Insert, Any]:
        return _insert(table, skip_existing=skip_existing), row_by_row(rows)

    def begin_migration(self, connection: sa.Connection) -> None:
        """A transaction that writes is alone."""

    def is_lock_timeout(self, error: exc.DBAPIError) -> bool:
        return self.code(error.orig).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))

    @contextmanager
    def exclusive(self, url: sa.URL) -> Iterator[None]:
        if _in_memory(url):
            raise UnusableDatabase(IN_MEMORY)
        with _beside(Path(str(url.database))) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UnusableDatabase(f"{url.database} is served by another process.") from None
            yield


def _beside(path: Path) -> IO[bytes]:
    """A file to lock: to close any handle of the database's own would release the locks that SQLite has on it."""
    try:
        return Path(f"{path.resolve()}.serving").open("wb")
    except OSError as error:
        raise UnusableDatabase(f"{path} cannot be served: {error.filename}: {error.strerror}") from None


async def _open(*place: Any, **options: Any) -> Any:
    """Open the file first: the thread of a connection that cannot be opened outlives the loop that it answers to."""
    import aiosqlite  # noqa: PLC0415 - an extra

    opened = sqlite3.connect(*place, **options)
    connection = aiosqlite.Connection(lambda: opened, iter_chunk_size=64)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does: who forgets to close it ends, too
    try:
        return await connection
    except BaseException:
        opened.close()
        raise


def _in_memory(url: sa.URL) -> bool:
    return url.database in {None, "", ":memory:"}


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    for name, function in FUNCTIONS.items():
        connection.create_function(name, 1, function, deterministic=True)


def _begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN" if options.get(READING) else "BEGIN IMMEDIATE")


def _refuse(context: ExceptionContext) -> Invalid | None:
    """An integer that is too large is the driver's to refuse, by an error that is not of the database."""
    return Invalid("The database refuses a value.") if isinstance(context.original_exception, OverflowError) else None


def _lower(text: Any) -> Any:
    """SQLite's own knows the letters of ASCII."""
    return text.lower() if isinstance(text, str) else text


def _octet_length(value: Any) -> int | None:
    return None if value is None else len(value if isinstance(value, bytes) else str(value).encode())


FUNCTIONS = {"lower": _lower, "octet_length": _octet_length, "bytes": bytes.fromhex}


class _List(sa.types.TypeDecorator[Sequence[Any]]):
    """Values of this type, as a list in JSON; bytes in hexadecimal digits."""

    impl = sa.String
    cache_ok = True

    def __init__(self, item: sa.types.TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def process_bind_param(self, value: Sequence[Any] | None, dialect: sa.Dialect) -> str:
        process = self.item.dialect_impl(dialect).bind_processor(dialect)
        values = [process(each) if process else each for each in value or ()]
        return json.dumps([each.hex() if isinstance(each, bytes | memoryview) else each for each in values])


@cache
def _insert(table: sa.Table, *, skip_existing: bool) -> sa.Insert:
    return insert(table).on_conflict_do_nothing() if skip_existing else insert(table)
