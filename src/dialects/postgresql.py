"""PostgreSQL, by asyncpg."""

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, cast
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi

from src.dialects import dialect
from src.dialects.dialect import Arrays, Dialect, EngineOptions, ErrorDetails, Issue, UnusableDatabase
from src.errors import Conflict, ForeignKey, Invalid, Transient, Unavailable

MIGRATION_LOCK = 0x6462_6D69_6772_6174  # "dbmigrat": held by the session that migrates
SERVER_SETTINGS = {
    "lock_timeout": f"{dialect.LOCK_TIMEOUT}s",
    "statement_timeout": f"{dialect.STATEMENT_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{dialect.IDLE_TIMEOUT}s",
}

OLDEST = 14  # that is maintained
VERIFYING = ("verify-full", "verify-ca")  # sslmode
DURABILITY = {
    "fsync": "a crash of the machine loses what was committed",
    "full_page_writes": "a crash of the machine may leave pages half written",
    "synchronous_commit": "a crash of the server loses what was committed",
}


class PostgreSQL(Dialect):
    """A statement a table, an array a column: the arrays are unnested by the server."""

    name = "PostgreSQL"
    driver = "asyncpg"
    port = 5432
    probe = dialect.probe("current_setting('transaction_read_only') = 'off'", "clock_timestamp()")
    read_options: ClassVar = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    single_read_options: ClassVar = {"isolation_level": "AUTOCOMMIT"}
    server_info = sa.text(
        """
        SELECT current_setting('server_version') AS version,
               current_setting('server_version_num')::int / 10000 AS major,
               current_setting('max_connections')::int
                 - current_setting('superuser_reserved_connections')::int
                 - coalesce(current_setting('reserved_connections', true), '0')::int AS connections,
               current_setting('fsync') AS fsync,
               current_setting('full_page_writes') AS full_page_writes,
               current_setting('synchronous_commit') AS synchronous_commit,
               lower(chr(196) COLLATE "default") = chr(228) AS folds_case
        """
    )
    missing_privileges = sa.text(
        """
        SELECT right_, name FROM unnest(cast(:names AS text[])) AS name,
               unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_
        WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), right_)
        """
    )
    triggers = sa.text(
        """
        WITH ours AS (SELECT to_regclass(name) AS oid, name FROM unnest(cast(:names AS text[])) AS name)
        SELECT 'trigger ' || tgname, name FROM pg_trigger JOIN ours ON tgrelid = ours.oid
        WHERE NOT tgisinternal AND tgenabled <> 'D'
        UNION ALL SELECT 'rule ' || rulename, name FROM pg_rewrite JOIN ours ON ev_class = ours.oid
        UNION ALL SELECT 'row security', name FROM pg_class JOIN ours USING (oid) WHERE relrowsecurity
        """
    )
    inbox_estimate = sa.text("SELECT reltuples FROM pg_class WHERE oid = 'inbox'::regclass")  # at the last ANALYZE
    offline_lock_timeout = f"SET LOCAL lock_timeout = '{dialect.MIGRATION_LOCK_TIMEOUT}s'"
    error_codes: ClassVar = {  # https://www.postgresql.org/docs/current/errcodes-appendix.html
        "40P01": Transient,  # deadlock
        "40001": Transient,  # serialization failure
        "55P03": Transient,  # lock timeout
        "08": Unavailable,  # connection
        "25006": Unavailable,  # read-only of a sudden
        "25P03": Unavailable,  # idle in transaction for too long: we were stopped
        "28": Unavailable,  # the login is refused
        "3D000": Unavailable,  # there is no such database
        "53": Unavailable,  # resources
        "57P0": Unavailable,  # shutdown
        "58": Unavailable,  # the server's own system
        "22": Invalid,
        "23001": ForeignKey,
        "23502": Invalid,
        "23503": ForeignKey,
        "23505": Conflict,
        "23514": Invalid,
        "23P01": Conflict,
        "invalid cached statement": Transient,  # the driver's own: a migration has run
    }
    login_error_codes = ("28", "3D000")

    def engine_options(self, url: sa.URL, application_name: str, *, without_timeouts: bool = False) -> EngineOptions:
        query: dict[str, Any] = dict(url.query)
        name = query.pop("application_name", application_name)
        if "sslmode" in query:
            query["ssl"] = query.pop("sslmode")
        if "sslrootcert" in query:  # which asyncpg takes from a URL of its own alone
            query["dsn"] = f"postgresql://?{urlencode({'sslrootcert': query.pop('sslrootcert')})}"
        arguments = {
            "timeout": dialect.CONNECT_TIMEOUT,
            "command_timeout": None if without_timeouts else dialect.COMMAND_TIMEOUT,
            "server_settings": {"application_name": name} | ({} if without_timeouts else SERVER_SETTINGS),
        }
        return EngineOptions(url.set(drivername="postgresql+asyncpg", query=query), {"connect_args": arguments})

    def code(self, error: object) -> str:
        """SQLSTATE."""
        if isinstance(error, AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError):
            return "invalid cached statement"
        return getattr(error, "sqlstate", None) or ""

    def details(self, error: BaseException) -> ErrorDetails:
        named = {name: getattr(error.__cause__, f"{name}_name", None) for name in ("table", "column", "constraint")}
        return ErrorDetails(self.code(error), **{name: value or "" for name, value in named.items()})

    def server_problems(self, info: Any, max_answer: int) -> Iterator[Issue]:  # noqa: ARG002 - it takes a gigabyte
        if info.major < OLDEST:
            yield Issue("is maintained no more", f"Run {OLDEST} or newer", serious=False)
        if not info.folds_case:
            what = "has an LC_CTYPE that folds the case of ASCII letters only: a search misses texts in another case"
            yield Issue(what, "Create the database with LC_CTYPE 'C.UTF-8'", serious=False)

    def durability_problems(self, info: Any) -> Iterator[Issue]:
        off = [(name, why) for name, why in DURABILITY.items() if getattr(info, name) == "off"]
        yield from (Issue(f"has {name}=off: {why}", f"Set {name}=on") for name, why in off)

    def tls_problem(self, url: sa.URL) -> str:
        verified = url.query.get("sslmode") in VERIFYING
        return "" if verified else "Set sslmode=verify-full and sslrootcert in DATABASE_URL"

    def in_parameter(self, column: Any, parameter: str) -> sa.ColumnElement[bool]:
        return cast("sa.ColumnElement[bool]", column == sa.any_(_array(parameter, column.type)))

    def insert_statement(self, table: sa.Table, rows: Arrays, *, skip_existing: bool = False) -> tuple[sa.Insert, Any]:
        return _insert(table, tuple(rows), skip_existing=skip_existing), rows

    def order_nulls(self, column: sa.UnaryExpression[Any], *, first: bool) -> list[sa.ColumnElement[Any]]:
        """Said only where it is not what an index has by default."""
        by_default = first == (column.modifier is sa.sql.operators.desc_op)
        return [column] if by_default else [*super().order_nulls(column, first=first)]

    def check_encoding(self, connection: sa.Connection) -> None:
        encoding = connection.scalar(sa.text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise UnusableDatabase(
                f"The database's encoding {encoding} does not hold every text: create a database with ENCODING 'UTF8'."
            )

    def begin_migration(self, connection: sa.Connection) -> None:
        self.check_encoding(connection)
        connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.execute(sa.text(f"SET lock_timeout = '{dialect.MIGRATION_LOCK_TIMEOUT}s'"))

    def is_lock_timeout(self, error: exc.DBAPIError) -> bool:
        return self.code(error.orig) == "55P03"


def _array(name: str, kind: sa.types.TypeEngine[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=ARRAY(_uncut(kind), dimensions=1))


def _uncut(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """A cast to VARCHAR(n) would cut what is too long; without one the database refuses it."""
    return sa.Text() if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum) else kind


@cache
def _insert(table: sa.Table, names: tuple[str, ...], *, skip_existing: bool) -> sa.Insert:
    columns = [table.c[name] for name in names]
    arrays = [_array(name, table.c[name].type) for name in names]
    unnested = sa.func.unnest(*arrays).table_valued(*(sa.column(each.name, each.type) for each in columns))
    source = sa.select(*unnested.render_derived().c)
    statement = insert(table).from_select([*names], source)
    return statement.on_conflict_do_nothing() if skip_existing else statement
