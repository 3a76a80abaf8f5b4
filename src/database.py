"""The database as the service and the library use it: sessions, checks, and the making of tables."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Self, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker
from sqlalchemy.pool import QueuePool

from src import dialects, schema
from src.clock import now
from src.database_status import Check, Pool
from src.dialects import Dialect, engines
from src.dialects.driver_errors import describe, translate
from src.errors import Unavailable
from src.persistence import failed_statements
from src.persistence.batch_map import BatchMap
from src.persistence.failed_statements import FailedStatements
from src.persistence.identity_map import INFO, IdentityMap
from src.persistence.library_map import LibraryMap
from src.persistence.read_map import ReadMap
from src.persistence.write_session import BatchSession, LibrarySession
from src.schema import Revision
from src.telemetry import metrics

if TYPE_CHECKING:
    import config

CLOSE_TIMEOUT = 3  # seconds: a server that does not answer must not delay the end of the process
CHECK_TIMEOUT = 5  # seconds: a check reports a server that does not answer
SESSION_OPTIONS: Any = {"expire_on_commit": False, "close_resets_only": False}  # a closed session is not used again


class Database:
    """One database. ``dsn`` has libpq's form; its ``application_name`` is shown in the server's views.

    ``options`` are those of the connection pool. The first use connects. A Database belongs to one event loop until
    that loop has ended or ``dispose`` was called.
    """

    def __init__(self, dsn: str, application_name: str = "db", **options: Any) -> None:
        self.url = sa.make_url(dsn)
        self.place = dialects.place(self.url)
        self._engines = engines.create(self.url, application_name, **options)
        self.dialect, self.engine = self._engines.dialect, self._engines.pooled
        failed_statements.watch(self.engine.sync_engine)
        self._sessions = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._library, self._batch = (
            async_sessionmaker(self.engine, sync_session_class=each, **SESSION_OPTIONS)
            for each in (LibrarySession, BatchSession)
        )
        self._reading, self._reading_once = (
            async_sessionmaker(self.engine.execution_options(**each), autoflush=False, **SESSION_OPTIONS)
            for each in (self.dialect.read_options, self.dialect.single_read_options)
        )

    @classmethod
    def from_settings(cls, settings: "config.Settings | None" = None) -> Self:
        """Return the database of these settings, by default of the process's settings. Raises WrongSettings."""
        import config  # noqa: PLC0415 - an import reads no settings

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

    @property
    def pool(self) -> Pool:
        """The use of the connection pool at the moment."""
        in_use = cast("QueuePool", self.engine.pool).checkedout()
        return Pool(in_use, self._engines.pool_limit, max(0, self._sessions - in_use))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open a session in a transaction; commit it at the end, roll it back where anything is raised.

        A failed statement outside a savepoint prevents the commit, even where its error was caught. The transaction
        increments the ``version`` of each row that it changes. Raises Transient, Unavailable, or the Problem that
        stands for the database's error.
        """
        async with self._open(self._library, LibraryMap) as rows:
            yield rows.session
            await rows.session.commit()

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[BatchMap]:
        """Open the session of a batch of writes, as ``session`` does; the caller counts versions for each request."""
        async with self._open(self._batch, BatchMap) as rows:
            rows.failed_statements = await FailedStatements.of(rows.session)
            yield rows
            await rows.session.commit()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Open a read-only session that sees one snapshot. Raises as ``session`` does."""
        async with self.read_batch() as rows:
            yield rows.session

    @asynccontextmanager
    async def read_batch(self, max_answer: float = math.inf, *, once: bool = False) -> AsyncIterator[ReadMap]:
        """Open the read-only session of a batch of reads, each of which may select rows of ``max_answer`` bytes.

        ``once`` is for a batch that executes a single statement: it needs no BEGIN and COMMIT.
        """
        async with self._open(self._reading_once if once else self._reading, ReadMap) as rows:
            rows.max_answer = max_answer
            yield rows

    @asynccontextmanager
    async def _open[M: IdentityMap](
        self, make_session: async_sessionmaker[AsyncSession], make_map: Callable[[AsyncSession, Dialect], M]
    ) -> AsyncIterator[M]:
        await self._enter_loop()
        self._sessions += 1
        session = make_session()
        rows = session.info[INFO] = make_map(session, self.dialect)
        try:
            yield rows
            metrics.DATABASE.end(self)
        except BaseException as error:
            ours = translate(error)
            if isinstance(ours, Unavailable):
                metrics.DATABASE.begin(self)
                await session.invalidate()  # a rollback would wait for a connection that may be dead
            if isinstance(error, TimeoutError):  # every other connection may be dead, too
                await self.engine.dispose(close=False)
            if ours is error:
                raise
            raise ours from error
        finally:
            self._sessions -= 1
            await session.close()
            session.info.clear()  # breaks the reference cycle between session and identity map

    async def _enter_loop(self) -> None:
        """Discard the connections of an event loop that has ended, without closing them: only that loop could."""
        before, self._loop = self._loop, asyncio.get_running_loop()
        if before and before is not self._loop and before.is_closed() and self.dialect.port:
            await self.engine.dispose(close=False)

    async def probe(self) -> None:
        """Connect outside the pool and correct the clock. Raises Unavailable where the database accepts no writes."""
        try:
            async with self.connect() as connection:
                writable = await self._is_writable(connection)
        except Exception as error:
            metrics.DATABASE.begin(self)
            raise Unavailable(describe(error)) from error
        if not writable:
            metrics.DATABASE.begin(self)
            raise Unavailable("the database is read-only")
        metrics.DATABASE.end(self)

    async def _is_writable(self, connection: AsyncConnection) -> bool:
        """Return whether the database accepts writes, and set the clock to the database's time."""
        asked = monotonic_ns()
        writable, time = (await connection.execute(self.dialect.probe)).one()
        now.correct(time, asked)
        return bool(writable)

    async def check(self) -> Check:
        """Connect outside the pool and report the database's state. Raises nothing."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(CHECK_TIMEOUT), self.connect() as connection:
                begun = monotonic_ns()
                found["writable"] = await self._is_writable(connection)
                found["latency"] = (monotonic_ns() - begun) / 1e9
                current = await connection.run_sync(schema.current_revisions)
                found["revision"] = ", ".join(sorted(current)) or None
                found["schema"] = await connection.run_sync(schema.compare, current)
        except Exception as error:  # any error is part of the report
            found["error"] = describe(error)
        return Check(reachable="latency" in found, pool=self.pool, **found)

    async def revision(self) -> Revision:
        """Compare the schema's revision with this code. Raises the driver's errors, and UnusableDatabase."""
        async with self.connect() as connection:
            await connection.run_sync(self.dialect.check_encoding)
            return await connection.run_sync(schema.compare, await connection.run_sync(schema.current_revisions))

    async def create_tables(self) -> None:
        """Create the missing tables, for tests and prototypes. A database that is to stay needs the migrations."""
        async with self.connect() as connection:
            await connection.run_sync(schema.create)

    async def drop_tables(self) -> None:
        """Drop all tables, with their rows."""
        async with self.connect() as connection:
            await connection.run_sync(schema.drop)

    def exclusive(self) -> AbstractContextManager[None]:
        """Lock a database that only one process may serve. Raises UnusableDatabase."""
        return self.dialect.exclusive(self.url)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection outside the pool. Raises the driver's errors."""
        async with self._engines.unpooled.connect() as connection:
            yield await connection.execution_options(**self.dialect.single_read_options)

    async def dispose(self) -> None:
        """Close the connections, within CLOSE_TIMEOUT. A later use connects again."""
        await self._enter_loop()
        closing = asyncio.ensure_future(self.engine.dispose())
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)
        closing.cancel()
        metrics.DATABASE.end(self)
