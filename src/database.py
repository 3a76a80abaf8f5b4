"""The engine, the session, and driver errors as ours, told apart by their codes, never by their text."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Self, cast

import pydantic_core
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

from src import dialects, revision, schema
from src.clock import now
from src.errors import Invalid, Problem, Transient, Unavailable, why
from src.persistence import failed_statements, identity_map
from src.persistence.versioning import VersionCounter
from src.persistence.write_session import WritingSession
from src.revision import Revision
from src.telemetry import metrics

if TYPE_CHECKING:
    import config

CLOSE_TIMEOUT = 3  # seconds that a goodbye may take
CHECK_TIMEOUT = 5  # seconds
SESSION: Any = {"expire_on_commit": False, "close_resets_only": False}  # it has one end


def place(dsn: str) -> str:
    """What is where, for people: ``PostgreSQL at 127.0.0.1:5432``, without the password."""
    url = sa.make_url(dsn)
    dialect = dialects.of(url.get_backend_name())
    return f"{dialect.name} at {dialect.place(url)}"


type _Sessions = async_sessionmaker[AsyncSession]


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections ``in_use``, how many there may be, and sessions that have none yet."""

    in_use: int
    limit: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Check:
    """How the database is at the moment; where something could not be asked, ``error`` says why, without a password."""

    reachable: bool
    pool: Pool
    writable: bool = False
    latency: float | None = None  # seconds
    revision: str | None = None  # the migration that the schema is at
    schema: Revision | None = None  # what that is to this code
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether this code can work with it: a schema that is ahead is one that it fits."""
        return self.writable and self.schema in {Revision.CURRENT, Revision.AHEAD}


class Database:
    """One engine. ``dsn`` is as libpq has it; an ``application_name`` in it is what the server's own views show.

    ``options`` go to the pool. It connects when it is first used, and belongs to one event loop until that has ended or
    ``dispose``.
    """

    def __init__(self, dsn: str, application_name: str = "db", **options: Any) -> None:
        self.url = sa.make_url(dsn)
        self.dialect = dialects.of(self.url.get_backend_name())
        self.place = place(dsn)
        made = self.dialect.engine(self.url, application_name)
        arguments: dict[str, Any] = {
            **made.arguments,
            "hide_parameters": True,  # what a request said is nobody's business but its rows'
            "json_serializer": lambda value: pydantic_core.to_json(value).decode(),
            "json_deserializer": pydantic_core.from_json,
        }
        options |= arguments
        self.engine = create_async_engine(made.url, **options)
        self._limit = options.get("pool_size", 5) + options.get("max_overflow", 10)  # SQLAlchemy's defaults
        self._sessions = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        unpooled = arguments | {"poolclass": NullPool}
        self._probe_engine = self.engine if made.single else create_async_engine(made.url, **unpooled)
        for engine in {self.engine, self._probe_engine}:
            self.dialect.prepare(engine.sync_engine)
        failed_statements.watch(self.engine.sync_engine)
        self._writing = async_sessionmaker(self.engine, sync_session_class=WritingSession, **SESSION)
        self._reading = self._reader(self.dialect.reading)
        self._reading_once = self._reader(self.dialect.reading_once)

    @classmethod
    def from_settings(cls, settings: "config.Settings | None" = None) -> Self:
        """The database of these settings, or else of those that are set for this process. Raises WrongSettings."""
        import config  # noqa: PLC0415 - nobody reads the settings before they are asked for

        settings = settings or config.load()
        return cls(
            settings.dsn,
            settings.service_name,
            echo=settings.sql_echo,
            pool_size=settings.database_pool_size,
            max_overflow=settings.database_max_overflow,
            pool_timeout=settings.database_pool_timeout,
            pool_recycle=settings.database_pool_recycle,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispose()

    def _reader(self, options: Mapping[str, Any]) -> _Sessions:
        """Sessions without a price for what they might have to write, over connections of the same pool."""
        return async_sessionmaker(self.engine.execution_options(**options), autoflush=False, **SESSION)

    @property
    def pool(self) -> Pool:
        """How the connections of sessions are used at the moment."""
        in_use = cast("QueuePool", self.engine.pool).checkedout()
        return Pool(in_use, self._limit, max(0, self._sessions - in_use))

    @asynccontextmanager
    async def session(self, *, by_request: bool = False) -> AsyncIterator[AsyncSession]:
        """A session in a transaction: committed at the end, rolled back where anything is raised.

        Nothing is committed either where a statement was refused outside a savepoint, whoever has caught that.

        What it changes has its version counted, once a transaction; ``by_request`` the caller does, by ``rows``.
        Raises Transient, Unavailable, or the Problem that a constraint's or a value's refusal means.
        """
        versions = None if by_request else VersionCounter(self.dialect)
        async with self._open(self._writing, lock=True, versions=versions) as session:
            yield session
            await session.commit()

    @asynccontextmanager
    async def reading(self, *, once: bool = False, limit: float = math.inf) -> AsyncIterator[AsyncSession]:
        """A session that sees one state of the database, and changes nothing. Raises as ``session`` does.

        A request selects rows of ``limit`` bytes at the most.
        What is read ``once``, by a single statement, needs no BEGIN and no COMMIT for that.
        """
        async with self._open(self._reading_once if once else self._reading, lock=False, limit=limit) as session:
            yield session

    @asynccontextmanager
    async def _open(self, make: _Sessions, **options: Any) -> AsyncIterator[AsyncSession]:
        await self._enter_loop()
        self._sessions += 1
        session = make()
        session.info["rows"] = identity_map.IdentityMap(session, self.dialect, **options)
        try:
            yield session
            metrics.DATABASE.end(self)
        except BaseException as error:
            ours = translate(error)
            if isinstance(ours, Unavailable):
                metrics.DATABASE.begin(self)
                await session.invalidate()  # a rollback would wait for a connection that may be dead
            if isinstance(error, TimeoutError):  # so may be every other one
                await self.engine.dispose(close=False)
            if ours is error:
                raise
            raise ours from error
        finally:
            self._sessions -= 1
            await session.close()
            session.info.clear()  # or the rows, which know their session, would wait for the garbage collector

    async def _enter_loop(self) -> None:
        """Leave the connections of a loop that has ended: nobody can speak on them, nor say goodbye."""
        before, self._loop = self._loop, asyncio.get_running_loop()
        if before and before is not self._loop and before.is_closed() and self.dialect.port:
            await self.engine.dispose(close=False)

    async def probe(self) -> None:
        """Ask over a connection of its own whether the database serves, and what time it is. Raises Unavailable."""
        try:
            async with self.connect() as connection:
                writable = await self._ask(connection)
        except Exception as error:
            metrics.DATABASE.begin(self)
            raise Unavailable(describe(error)) from error
        if not writable:
            metrics.DATABASE.begin(self)
            raise Unavailable("the database is read-only")
        metrics.DATABASE.end(self)

    async def _ask(self, connection: AsyncConnection) -> bool:
        """Whether the database takes writes; from now on its time is ours."""
        asked = monotonic_ns()
        writable, time = (await connection.execute(self.dialect.probe)).one()
        now.correct(time, asked)
        return bool(writable)

    async def check(self) -> Check:
        """Look at the database over a connection of its own, as ``probe`` does. What it finds wrong it says."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(CHECK_TIMEOUT), self.connect() as connection:
                begun = monotonic_ns()
                found["writable"] = await self._ask(connection)
                found["latency"] = (monotonic_ns() - begun) / 1e9
                current = await connection.run_sync(revision.of)
                found |= {"revision": ", ".join(sorted(current)) or None, "schema": revision.compare(current)}
        except Exception as error:  # whatever it is, it is what there is to say
            found["error"] = describe(error)
        return Check(reachable="latency" in found, pool=self.pool, **found)

    async def revision(self) -> Revision:
        """What the schema is to this code. Raises what the driver raises."""
        async with self.connect() as connection:
            return revision.compare(await connection.run_sync(revision.of))

    async def create_tables(self) -> None:
        """Make every table that is missing, for tests and prototypes: data that is to stay needs the migrations."""
        async with self.connect() as connection:
            await connection.run_sync(schema.create)

    async def drop_tables(self) -> None:
        """Drop every table, with all that is in them."""
        async with self.connect() as connection:
            await connection.run_sync(schema.drop)

    def alone(self) -> AbstractContextManager[None]:
        """Serve a database that only one process may serve. Raises Unservable."""
        return self.dialect.alone(self.url)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection outside the pool, for what is no session of ours. Raises what the driver raises."""
        async with self._probe_engine.connect() as connection:
            yield await connection.execution_options(**self.dialect.reading_once)

    async def dispose(self) -> None:
        """Close the connections; a server that says nothing holds up no end. What is used again connects again."""
        await self._enter_loop()
        closing = asyncio.ensure_future(self.engine.dispose())
        _, waiting = await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)
        for each in waiting:
            each.cancel()
        metrics.DATABASE.end(self)


@contextmanager
def infrastructure_errors() -> Iterator[None]:
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
        case exc.StatementError(orig=Problem() as problem):  # a column's type refuses a value
            return problem
        case _:
            return error


def _translate_driver(error: exc.DBAPIError) -> BaseException:
    meaning = dialects.meaning(error)
    if meaning is Transient:
        return Transient(describe(error))
    if error.connection_invalidated or meaning is Unavailable:
        return Unavailable(describe(error))
    if meaning is Invalid:
        return Invalid("The database refuses a value.")
    return meaning() if meaning else error


def describe(error: BaseException) -> str:
    """What happened, on one line, without the statement, its parameters and the server's DETAIL (it holds values)."""
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
    return why(cause)[:500]
