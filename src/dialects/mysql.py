"""MariaDB, by asyncmy."""

import logging
import re
import ssl
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, ClassVar, cast

import sqlalchemy as sa
from sqlalchemy import event, exc

from src.dialects import dialect
from src.dialects.dialect import Arrays, Dialect, EngineOptions, ErrorDetails, Issue, row_by_row
from src.errors import Conflict, ForeignKey, Invalid, TooLarge, Transient, Unavailable

COLLATION = "utf8mb4_nopad_bin"
"""The only one that compares by code point: to others 'a' is 'A', to ``utf8mb4_bin`` still 'a '."""
MIGRATION_LOCK = "SELECT GET_LOCK('db-migrations', 600)"  # seconds
SESSION = "SET sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'"
LIMITS = (  # the part that is marked so is for MariaDB alone
    f"innodb_lock_wait_timeout = {dialect.LOCK_TIMEOUT}"
    f" /*M! , max_statement_time = {dialect.STATEMENT_TIMEOUT}, idle_transaction_timeout = {dialect.IDLE_TIMEOUT} */"
)
OVERHEAD = 64 * 1024  # bytes of a packet that are no values
_PACKET = "max_allowed_packet"

OLDEST = (10, 6)  # that is maintained
DURABILITY = {  # what each has to be, and why
    "innodb_flush_log_at_trx_commit": (1, "a crash of the machine loses what was committed"),
    "innodb_doublewrite": (1, "a crash of the machine may leave pages half written"),
    "sync_binlog": (1, "a crash of the machine loses what was committed, with the end of the binary log"),
}

_CODES = {  # https://mariadb.com/docs/server/reference/error-codes
    Transient: (
        1205,  # lock timeout
        1213,  # deadlock
        1305,  # the savepoint is gone, and with it the transaction: a deadlock has ended it
        1020,  # the row has changed
        1412,  # the table was altered
        3572,  # no wait for a lock
    ),
    Unavailable: (
        *(1021, 1040, 1041, 1044, 1045, 1049, 1053, 1077, 1078, 1079, 1080, 1129, 1130, 1158, 1159, 1160, 1161),
        *(1203, 1226, 1290, 1792, 1836, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031),
    ),
    Conflict: (1022, 1062, 1169, 1586),
    ForeignKey: (1216, 1217, 1451, 1452),
    Invalid: (1048, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1406, 1690, 3140, 3819, 4025, 4038),
    TooLarge: (1153,),
}

_NAMING_A_COLUMN = ("1048;", "1054;", "1264;", "1265;", "1364;", "1366;", "1406;")


class MySQL(Dialect):
    """Many rows a statement; the driver writes them into one."""

    name = "MariaDB"
    driver = "asyncmy"
    extra = "mariadb"
    port = 3306
    probe = dialect.probe("NOT @@global.read_only", "UTC_TIMESTAMP(6)")
    read_options: ClassVar = {"isolation_level": "REPEATABLE READ"}
    single_read_options: ClassVar = {"isolation_level": "AUTOCOMMIT"}
    server_info = sa.text(
        """
        SELECT version() AS version, @@collation_database AS collation, @@max_allowed_packet AS packet,
               if(@@max_user_connections > 0, least(@@max_user_connections, @@max_connections), @@max_connections)
                 AS connections,
               @@innodb_flush_log_at_trx_commit AS innodb_flush_log_at_trx_commit,
               @@innodb_doublewrite AS innodb_doublewrite,
               if(@@log_bin, @@sync_binlog, 1) AS sync_binlog
        """
    )
    missing_privileges = sa.text(
        """
        SELECT right_, t.table_name FROM information_schema.tables AS t,
               (SELECT 'SELECT' AS right_ UNION SELECT 'INSERT' UNION SELECT 'UPDATE' UNION SELECT 'DELETE') AS rights,
               (SELECT current_user() AS login, coalesce(current_role(), '') AS role) AS us
        WHERE t.table_schema = database() AND t.table_name IN :names AND right_ NOT IN (
            SELECT privilege_type FROM information_schema.user_privileges
            WHERE replace(grantee, char(39), '') IN (login, role)
            UNION SELECT privilege_type FROM information_schema.schema_privileges AS s
            WHERE database() LIKE s.table_schema AND replace(grantee, char(39), '') IN (login, role)
            UNION SELECT privilege_type FROM information_schema.table_privileges AS p
            WHERE p.table_schema = database() AND p.table_name = t.table_name
              AND replace(grantee, char(39), '') IN (login, role))
        """
    ).bindparams(sa.bindparam("names", expanding=True))
    triggers = sa.text(
        """
        SELECT concat('trigger ', trigger_name), event_object_table FROM information_schema.triggers
        WHERE event_object_schema = database() AND event_object_table IN :names
        """
    ).bindparams(sa.bindparam("names", expanding=True))
    inbox_estimate = sa.text(
        "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'inbox'"
    )
    offline_lock_timeout = f"SET lock_wait_timeout = {dialect.MIGRATION_LOCK_TIMEOUT}"
    transactional_ddl = False
    reports_server_defaults = False
    error_codes: ClassVar = {f"{number};": meaning for meaning, numbers in _CODES.items() for number in numbers}
    login_error_codes = ("1044;", "1045;", "1049;")

    def engine_options(self, url: sa.URL, application_name: str, *, without_timeouts: bool = False) -> EngineOptions:
        query = dict(url.query)
        ca = query.pop("ssl_ca", None)
        arguments: dict[str, Any] = {
            "ssl": ca and ssl.create_default_context(cafile=str(ca)),
            "connect_timeout": dialect.CONNECT_TIMEOUT,
            "read_timeout": None if without_timeouts else dialect.COMMAND_TIMEOUT,
            "charset": "utf8mb4",
            "binary_prefix": True,
            "init_command": SESSION if without_timeouts else f"{SESSION}, {LIMITS}",
            "program_name": application_name,
        }
        isolation = {"isolation_level": "READ COMMITTED"}  # a look-up must see what was committed just now
        return EngineOptions(url.set(drivername="mysql+asyncmy", query=query), {"connect_args": arguments} | isolation)

    def add_listeners(self, engine: sa.Engine) -> None:
        logging.getLogger("asyncmy").setLevel(logging.ERROR)  # it tells of the server's warnings, which hold values
        event.listen(engine, "connect", _ask_packet)
        event.listen(engine, "before_cursor_execute", _check_packet)

    def code(self, error: object) -> str:
        """The server's or the driver's number, and a semicolon: no number is the beginning of another."""
        arguments = getattr(error, "args", ())
        return f"{arguments[0]};" if arguments and type(arguments[0]) is int else ""

    def details(self, error: BaseException) -> ErrorDetails:
        """The names come from the text, which has them in quotes: the protocol has no fields for them."""
        code, text = self.code(error), str(error.args[1]) if len(error.args) > 1 else ""
        column = re.search(r"'([^']+)'", text) if code in _NAMING_A_COLUMN else None
        constraint = re.match(r"CONSTRAINT `(?:[^`]+\.)?([^`.]+)` failed", text)
        return ErrorDetails(
            code.rstrip(";"), column=column[1] if column else "", constraint=constraint[1] if constraint else ""
        )

    def server_problems(self, info: Any, max_answer: int) -> Iterator[Issue]:
        if "MariaDB" not in info.version:
            yield Issue("is no MariaDB, and was never tried", "Run MariaDB", serious=False)
        elif _number(info.version) < OLDEST:
            yield Issue("is maintained no more", f"Run {'.'.join(map(str, OLDEST))} or newer", serious=False)
        if info.collation != COLLATION:
            yield Issue(f"compares text by {info.collation}", "Migrate it: ./db migrate")
        if info.packet < (wanted := 2 * max_answer + OVERHEAD):  # as ``_sizes`` counts
            what = f"has max_allowed_packet={info.packet}, and a row may take {wanted} bytes as it is written"
            yield Issue(what, "Raise max_allowed_packet, or lower MAX_ANSWER", serious=False)

    def durability_problems(self, info: Any) -> Iterator[Issue]:
        for name, (safe, why) in DURABILITY.items():
            if (found := getattr(info, name)) != safe:
                yield Issue(f"has {name}={found}: {why}", f"Set {name}={safe}")

    def tls_problem(self, url: sa.URL) -> str:
        return "" if "ssl_ca" in url.query else "Set ssl_ca in DATABASE_URL"

    def in_parameter(self, column: Any, parameter: str) -> sa.ColumnElement[bool]:
        return cast("sa.ColumnElement[bool]", column.in_(sa.bindparam(parameter, type_=column.type, expanding=True)))

    def insert_statement(self, table: sa.Table, rows: Arrays, *, skip_existing: bool = False) -> tuple[sa.Insert, Any]:
        return _insert(table, skip_existing=skip_existing), row_by_row(rows)

    def order_nulls(self, column: sa.UnaryExpression[Any], *, first: bool) -> Sequence[sa.ColumnElement[Any]]:
        """Nulls are the smallest here, and there is no word for anything else."""
        null = column.element.is_(None)
        return [null.desc() if first else null.asc(), column]

    def begin_migration(self, connection: sa.Connection) -> None:
        if not connection.scalar(sa.text(MIGRATION_LOCK)):
            raise dialect.UnusableDatabase("Another migration has not ended for ten minutes.")
        if connection.scalar(sa.text("SELECT @@collation_database")) != COLLATION:
            connection.execute(sa.text(f"ALTER DATABASE CHARACTER SET utf8mb4 COLLATE {COLLATION}"))
        connection.execute(sa.text(f"SET lock_wait_timeout = {dialect.MIGRATION_LOCK_TIMEOUT}"))

    def is_lock_timeout(self, error: exc.DBAPIError) -> bool:
        return self.code(error.orig) == "1205;"


@cache
def _insert(table: sa.Table, *, skip_existing: bool) -> sa.Insert:
    return sa.insert(table).prefix_with("IGNORE") if skip_existing else sa.insert(table)


def _number(version: str) -> tuple[int, ...]:
    """The first two parts of a version like ``10.11.6-MariaDB``."""
    return tuple(int(part) for part in version.split(".")[:2])


def _ask_packet(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT @@max_allowed_packet")
    record.info[_PACKET] = cursor.fetchone()[0]
    cursor.close()


def _check_packet(
    connection: sa.Connection,
    _cursor: object,
    statement: str,
    parameters: Any,
    _context: object,
    many: bool,  # noqa: FBT001 - as SQLAlchemy calls it
) -> None:
    """Raise TooLarge: the server would end the connection over such a statement, as if it had died."""
    most = connection.info[_PACKET] - OVERHEAD - len(statement)
    for row in parameters if many else [parameters]:
        if sum(_sizes(row)) > most:
            raise TooLarge(f"The database takes {most} bytes at a time.")


def _sizes(row: Any) -> Iterator[int]:
    """Of each value as it is written: in bytes, each of which may need a backslash."""
    for value in row.values() if isinstance(row, dict) else row:
        if isinstance(value, str):
            yield 2 * len(value) if value.isascii() else 2 * len(value.encode())
        elif isinstance(value, bytes):
            yield 2 * len(value)
