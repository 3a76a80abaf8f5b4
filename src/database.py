"""PostgreSQL: the engine, the transaction, and driver errors as ours, told apart by SQLSTATE, never by their text."""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Self, cast
from urllib.parse import urlencode

import pydantic_core
import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction
from sqlalchemy.pool import NullPool, QueuePool

from src import rows, telemetry
from src.clock import now
from src.errors import Conflict, ForeignKey, Invalid, Problem, Transient, Unavailable

# https://www.postgresql.org/docs/current/errcodes-appendix.html
TRANSIENT = ("40P01", "40001", "55P03")  # deadlock, serialization failure, lock timeout
UNAVAILABLE = (
    "08",  # connection
    "25006",  # read-only of a sudden
    "25P03",  # idle in transaction for too long: we were stopped
    "28",  # the login is refused
    "3D000",  # there is no such database
    "53",  # resources
    "57P0",  # shutdown
    "58",  # the server's own system
)
DATA = "22"
PROBLEMS: dict[str, type[Problem]] = {
    "23001": ForeignKey,
    "23502": Invalid,
    "23503": ForeignKey,
    "23505": Conflict,
    "23514": Invalid,
    "23P01": Conflict,
}

COMMAND_TIMEOUT = 60  # seconds: a connection that says nothing for longer is dead
SERVER_SETTINGS = {  # milliseconds; the server ends what the client has forgotten
    "lock_timeout": "10000",
    "statement_timeout": "30000",
    "idle_in_transaction_session_timeout": "60000",
}


def engine_url(dsn: str) -> tuple[URL, str | None]:
    """SQLAlchemy's URL for asyncpg, without what is no argument of its connect, and the application name if any."""
    url = sa.make_url(dsn)
    query: dict[str, Any] = dict(url.query)
    name = query.pop("application_name", None)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    if "sslrootcert" in query:  # which asyncpg takes from a URL of its own alone
        query["dsn"] = f"postgresql://?{urlencode({'sslrootcert': query.pop('sslrootcert')})}"
    return url.set(drivername="postgresql+asyncpg", query=query), name


_PROBE = sa.text("SELECT current_setting('transaction_read_only'), clock_timestamp()")


def place(dsn: str) -> str:
    """Host and port, without the password."""
    url = sa.make_url(dsn)
    return f"{url.host}:{url.port or 5432}"


type _Sessions = async_sessionmaker[AsyncSession]


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections ``in_use``, how many there may be, and sessions that have none yet."""

    in_use: int
    limit: int
    waiting: int


class Database:
    """One engine. ``dsn`` is as libpq has it; an ``application_name`` in it is what the server's own views show.

    ``options`` go to the pool.
    """

    def __init__(self, dsn: str, application_name: str = "db", **options: Any) -> None:
        url, given_name = engine_url(dsn)
        self.place = place(dsn)
        arguments: dict[str, Any] = {
            "connect_args": {
                "timeout": 10,
                "command_timeout": COMMAND_TIMEOUT,
                "server_settings": {"application_name": given_name or application_name} | SERVER_SETTINGS,
            },
            "hide_parameters": True,  # what a request said is nobody's business but its rows'
            "json_serializer": lambda value: pydantic_core.to_json(value).decode(),
            "json_deserializer": pydantic_core.from_json,
        }
        self._engine = create_async_engine(url, **arguments, **options)
        self._limit = options.get("pool_size", 5) + options.get("max_overflow", 10)  # SQLAlchemy's defaults
        self._sessions = 0
        event.listen(self._engine.sync_engine, "handle_error", _note_refusal)
        self._probe_engine = create_async_engine(url, **arguments, poolclass=NullPool)
        self._writing = async_sessionmaker(self._engine, expire_on_commit=False, sync_session_class=_Session)
        self._reading = self._reader({"isolation_level": "REPEATABLE READ", "postgresql_readonly": True})
        self._reading_once = self._reader({"isolation_level": "AUTOCOMMIT"})

    def _reader(self, options: dict[str, Any]) -> _Sessions:
        """Sessions without a price for what they might have to write, over connections of the same pool."""
        return async_sessionmaker(self._engine.execution_options(**options), expire_on_commit=False, autoflush=False)

    @property
    def pool(self) -> Pool:
        """How the connections of transactions and readings are used at the moment."""
        in_use = cast("QueuePool", self._engine.pool).checkedout()
        return Pool(in_use, self._limit, max(0, self._sessions - in_use))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session in a transaction: committed at the end, rolled back where anything is raised.

        Raises Transient, Unavailable, or the Problem that a constraint's or a value's refusal means.
        """
        async with self._session(self._writing, lock=True) as session:
            yield session
            await session.flush()  # commit() does not know what ``rows`` has held back
            await session.commit()

    @asynccontextmanager
    async def reading(self, *, once: bool = False, limit: float = math.inf) -> AsyncIterator[AsyncSession]:
        """A session that sees one state of the database, and changes nothing. Raises as ``transaction`` does.

        A request selects rows of ``limit`` bytes at the most.
        What is read ``once``, by a single statement, needs no BEGIN and no COMMIT for that.
        """
        async with self._session(self._reading_once if once else self._reading, lock=False, limit=limit) as session:
            yield session

    @asynccontextmanager
    async def _session(self, make: _Sessions, *, lock: bool, limit: float = math.inf) -> AsyncIterator[AsyncSession]:
        self._sessions += 1
        session = make()
        session.info["rows"] = rows.Rows(session, lock=lock, limit=limit)
        try:
            yield session
            telemetry.DATABASE.end(self)
        except BaseException as error:
            ours = translate(error)
            if isinstance(ours, Unavailable):
                telemetry.DATABASE.begin(self)
                await session.invalidate()  # a rollback would wait for a connection that may be dead
            if isinstance(error, TimeoutError):  # so may be every other one
                await self._engine.dispose(close=False)
            if ours is error:
                raise
            raise ours from error
        finally:
            self._sessions -= 1
            await session.close()
            session.info.clear()  # or the rows, which know their session, would wait for the garbage collector

    async def probe(self) -> None:
        """Ask over a connection of its own whether the database serves, and what time it is. Raises Unavailable."""
        try:
            async with self._probe_engine.connect() as connection:
                asked = monotonic_ns()
                read_only, time = (await connection.execute(_PROBE)).one()
        except Exception as error:
            telemetry.DATABASE.begin(self)
            raise Unavailable(describe(error)) from error
        now.correct(time, asked)
        if read_only == "on":
            telemetry.DATABASE.begin(self)
            raise Unavailable("the database is read-only")
        telemetry.DATABASE.end(self)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection outside the pool, for what is no transaction of ours. Raises what the driver raises."""
        async with self._probe_engine.connect() as connection:
            yield connection

    async def close(self) -> None:
        await self._engine.dispose()
        telemetry.DATABASE.end(self)


class _Session(Session):
    """Writes what ``rows`` has held back with its own, and tells it of statements that may change any row."""

    def flush(self, objects: Any = None) -> None:
        """Whatever is asked of the session finds all that was changed before written."""
        loaded: rows.Rows | None = self.info.get("rows")
        if loaded is None:
            super().flush(objects)
            return
        loaded.writes.insert(self)
        super().flush(objects)
        loaded.writes.delete(self)


@event.listens_for(_Session, "do_orm_execute")
def _doubt(state: ORMExecuteState) -> None:
    if not isinstance(state.statement, sa.Select) and (loaded := state.session.info.get("rows")):
        loaded.doubt()


@event.listens_for(_Session, "after_soft_rollback")
def _forget_held_back(session: Session, transaction: SessionTransaction) -> None:
    """What was held back since a savepoint goes with it: to begin one writes all that there was before."""
    if transaction.nested and (loaded := session.info.get("rows")):
        loaded.writes.forget()
        loaded.doubt()


@dataclass(frozen=True, slots=True)
class Refusals:
    """Whether the database has refused a statement of this connection, even if nobody was told."""

    _info: dict[str, Any]

    @classmethod
    async def of(cls, session: AsyncSession) -> Self:
        """Those from now on."""
        refusals = cls((await session.connection()).info)
        refusals.take()
        return refusals

    def take(self) -> BaseException | None:
        """The first one since the last call."""
        error: BaseException | None = self._info.pop(_REFUSED, None)
        return error


_REFUSED = "refused"


def _note_refusal(context: ExceptionContext) -> None:
    if context.connection is not None:
        context.connection.info.setdefault(_REFUSED, context.sqlalchemy_exception or context.original_exception)


@contextmanager
def nobodys_fault() -> Iterator[None]:
    """What fails here is no request's doing: to look for a culprit would be in vain. Raises Transient, Unavailable."""
    try:
        yield
    except exc.DBAPIError as error:
        ours = translate(error)
        raise (ours if isinstance(ours, Transient) else Unavailable(describe(error))) from error


def translate(error: BaseException) -> BaseException:
    """What a driver's error is to us; any other comes back as it is."""
    match error:
        case exc.TimeoutError() | OSError() | TimeoutError():  # the pool's, the network's, the command's
            return Unavailable(describe(error))
        case exc.DBAPIError():
            return _translate_driver(error)
        case _:
            return error


def _translate_driver(error: exc.DBAPIError) -> BaseException:
    code = sqlstate(error)
    if code in TRANSIENT or isinstance(error.orig, AsyncAdapt_asyncpg_dbapi.InvalidCachedStatementError):
        return Transient(describe(error))
    if error.connection_invalidated or code.startswith(UNAVAILABLE):
        return Unavailable(describe(error))
    if code in PROBLEMS:
        return PROBLEMS[code]()
    if code.startswith(DATA):
        return Invalid("The database refuses a value.")
    return error


def sqlstate(error: exc.DBAPIError) -> str:
    """The five characters, empty where the driver itself failed."""
    return getattr(error.orig, "sqlstate", None) or ""


def describe(error: BaseException) -> str:
    """What happened, on one line, without the statement, its parameters and the server's DETAIL (it holds values)."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    return (str(cause).partition("\n")[0] or type(cause).__name__)[:500]
