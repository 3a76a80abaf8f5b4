"""A connection is cut at any place: an outage comes out, and the pool has its connection back."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import asyncmy.errors
import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from src import crud
from src.database import Database
from src.errors import NotFound, Transient, Unavailable
from src.library import User

OUTAGES = Transient, Unavailable
LONGEST = 200  # chunks: a connection, a block in it and its end take fewer


class Cutter:
    """Forwards connections to a server, and cuts all of them where ``left`` chunks more have come from it."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.cut = False

    def passes(self) -> bool:
        """Whether one more chunk gets through."""
        if self.left is not None:
            self.left -= 1
            self.cut = self.cut or self.left < 0
        return self.left is None or self.left >= 0

    @contextlib.asynccontextmanager
    async def before(self, url: str) -> AsyncIterator[str]:
        """Stand before this server."""
        given = sa.make_url(url)

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, to = await asyncio.open_connection(given.host, given.port)
            ways = [self._pump(reader, to, lambda: True), self._pump(there, writer, self.passes)]
            await asyncio.wait(map(asyncio.ensure_future, ways), return_when=asyncio.FIRST_COMPLETED)
            for end in (writer, to):
                end.transport.abort()

        async with await asyncio.start_server(connect, "127.0.0.1") as server:
            port = server.sockets[0].getsockname()[1]
            yield given.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
            server.close_clients()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[], bool]
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := await reader.read(65536)) and passes():
                writer.write(data)


async def write(database: Database) -> None:
    async with database.session() as session:
        await crud.create(session, User, username=uuid4().hex)
        await session.flush()


async def write_in_a_batch(database: Database) -> None:
    async with database.batch() as rows:
        await rows.session.execute(sa.select(User.id))


async def read(database: Database) -> None:
    async with database.reading() as session:
        await crud.count(session, User, {})


async def read_once(database: Database) -> None:
    async with database.read_batch(once=True) as rows:
        await rows.session.execute(sa.select(User.id))


BLOCKS = [write, write_in_a_batch, read, read_once]


@pytest.mark.parametrize("warm", [False, True], ids=["as it connects", "from the pool"])
@pytest.mark.parametrize("block", BLOCKS)
async def test_wherever_a_connection_is_cut_it_is_an_outage_and_no_connection_is_missing(
    block: Any,
    warm: bool,  # noqa: FBT001
    url: str,
) -> None:
    if url.startswith("sqlite"):
        pytest.skip("it has no connection that could be cut")
    cutter = Cutter()
    async with cutter.before(url) as cut, Database(cut) as database:
        for chunks in range(LONGEST):
            async with database.session() as session:  # also where the last try has left nothing usable
                await session.execute(sa.delete(User))
            if not warm:
                await database.engine.dispose()
            cutter.left, cutter.cut = chunks, False
            with contextlib.suppress(*OUTAGES):
                await block(database)
            assert database.pool.in_use == 0
            reached, cutter.left = cutter.cut, None
            await database.engine.dispose(close=False)
            if not reached:
                return
    pytest.fail("the block never ended")


@pytest.mark.parametrize("raised", [NotFound("mine"), ZeroDivisionError("mine")])
async def test_what_a_block_raises_comes_out_though_its_rollback_fails(raised: Exception, url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("it has no connection that could be cut")
    cutter = Cutter()
    async with cutter.before(url) as cut, Database(cut) as database:
        with pytest.raises(type(raised), match="mine"):
            await write_and_raise(database, cutter, raised)
        assert cutter.cut
        assert database.pool.in_use == 0


async def write_and_raise(database: Database, cutter: Cutter, error: Exception) -> None:
    async with database.session() as session:
        await crud.create(session, User, username=uuid4().hex)
        await session.flush()
        cutter.left = 0
        raise error


RAW = {
    "PostgreSQL": asyncpg.InterfaceError("raw"),
    "MariaDB": asyncmy.errors.InternalError("raw"),
    "SQLite": sqlite3.OperationalError("raw"),
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("moment", ["connect", "checkout", "begin", "rollback", "commit"])
async def test_what_a_driver_raises_outside_a_statement_is_an_outage_and_no_connection_is_missing(
    moment: str, block: Any, database: Database
) -> None:
    reached: list[object] = []

    def fail(*_: object) -> None:
        reached.append(moment)
        raise RAW[database.dialect.name]

    event.listen(database.engine.sync_engine, moment, fail)
    with contextlib.suppress(Unavailable):
        await block(database)
        assert not reached
    event.remove(database.engine.sync_engine, moment, fail)
    assert database.pool.in_use == 0
    await block(database)


async def test_a_connection_whose_setup_fails_is_closed(database: Database) -> None:
    opened: list[Any] = []

    def fail(connection: Any, _record: object) -> None:
        opened.append(connection)
        raise RAW[database.dialect.name]

    event.listen(database.engine.sync_engine, "connect", fail)
    with pytest.raises(Unavailable):
        await read(database)
    (connection,) = opened
    assert is_closed(connection.driver_connection)


def is_closed(driver: Any) -> bool:
    """Whether this connection of asyncpg, asyncmy or aiosqlite is."""
    if isinstance(driver, asyncpg.Connection):
        return bool(driver.is_closed())
    return not (driver.connected if hasattr(driver, "connected") else driver._connection)
