"""A database says how it is, makes its tables and drops them; what is wrong with it is one clear error."""

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

import config
from dev import ports
from examples import databases
from src import crud, library, schema
from src.database import Database
from src.errors import Conflict, Invalid, Unavailable
from src.library import User
from src.schema import Revision
from tests.library.conftest import execute
from tests.support import harness

NOBODY = ["postgresql://nobody:wrong-password@127.0.0.1", "mysql://nobody:wrong-password@127.0.0.1"]


async def test_a_database_says_how_it_is(database: Database) -> None:
    found = await database.check()
    assert (found.ok, found.reachable, found.writable, found.error) == (True, True, True, None)
    assert (found.schema, found.revision) == (Revision.CURRENT, schema.scripts().get_current_head())
    assert found.latency is not None
    assert 0 < found.latency < 5
    async with database.session() as session:
        await session.connection()
        assert database.pool.in_use == 1
    assert (await database.check()).pool.in_use == 0


async def test_tables_are_made_once_and_dropped(url: str) -> None:
    async with Database(url) as database:
        await database.drop_tables()
        found = await database.check()
        assert (found.ok, found.schema, found.revision) == (False, Revision.BEHIND, None)
        await database.drop_tables()
        await database.create_tables()
        async with database.session() as session:
            await crud.create(session, User, username="ada")
        await database.create_tables()
        async with database.reading() as session:
            assert await crud.count(session, User, {}) == 1
        assert (await database.check()).ok


async def test_tables_that_were_there_do_not_count_as_the_newest(url: str) -> None:
    async with Database(url) as database:
        await execute(database, "DROP TABLE alembic_version", "DROP TABLE suspects")
        await database.create_tables()
        assert (await database.check()).schema is Revision.BEHIND
        await database.drop_tables()
        await database.create_tables()


async def test_text_is_compared_by_code_point(database: Database) -> None:
    async with database.session() as session:
        for name in ("ada", "Ada", "ada ", "adä"):
            await crud.create(session, User, username=name)


@pytest.mark.databases
async def test_text_is_compared_so_in_a_database_that_was_made_otherwise(mariadb_url: str) -> None:
    url = await databases.make(mariadb_url, f"db_test_{uuid.uuid4().hex[:12]}")
    try:
        await harness.execute(url, "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        async with Database(url) as database:
            await database.create_tables()
            async with database.session() as session:
                await crud.create(session, User, username="ada")
                await crud.create(session, User, username="Ada")
    finally:
        await databases.drop(url)


@pytest.mark.parametrize(("change", "schema"), [("0001", Revision.BEHIND), ("later", Revision.AHEAD)])
async def test_a_schema_of_another_version_is_told(url: str, change: str, schema: Revision) -> None:
    async with Database(url) as database:
        (head,) = (await harness.fetch(url, "SELECT version_num FROM alembic_version"))[0]
        await execute(database, f"UPDATE alembic_version SET version_num = '{change}'")
        found = await database.check()
        assert (found.schema, found.revision, found.ok) == (schema, change, schema is Revision.AHEAD)
        await execute(database, f"UPDATE alembic_version SET version_num = '{head}'")


async def test_a_value_that_is_taken_meanwhile_is_a_conflict(database: Database) -> None:
    with pytest.raises(Conflict):
        async with database.session() as session:
            session.add_all([User(username="ada"), User(username="ada")])
    async with database.reading() as session:
        assert await crud.count(session, User, {}) == 0


REFUSED = "INSERT INTO users (id, username) VALUES (NULL, NULL)"


async def go_on(database: Database) -> None:
    async with database.session() as session:
        await crud.create(session, User, username="ada")
        await session.flush()
        with pytest.raises(DBAPIError):
            await session.execute(sa.text(REFUSED))


async def test_whoever_goes_on_after_a_refusal_has_it_told_and_nothing_committed(database: Database) -> None:
    with pytest.raises(Invalid):
        await go_on(database)
    async with database.session() as session:
        assert not await crud.exists(session, User, {})


async def test_a_savepoint_takes_a_refusal_back(database: Database) -> None:
    async with database.session() as session:
        await crud.create(session, User, username="ada")
        with pytest.raises(DBAPIError):
            async with session.begin_nested():
                await session.execute(sa.text(REFUSED))
    async with database.reading() as session:
        assert await crud.exists(session, User, {"username": "ada"})


async def test_the_settings_say_which(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    async with Database.from_settings() as database:
        assert (await database.check()).ok
    assert Database.from_settings(config.load(database_url=url)).url == sa.make_url(url)
    monkeypatch.setenv("DATABASE_URL", "oracle://x")
    with pytest.raises(config.WrongSettings, match="DATABASE_URL: names oracle"):
        Database.from_settings()


async def test_a_database_in_memory_is_one() -> None:
    async with Database("sqlite:///:memory:") as database:
        await database.create_tables()
        async with database.session() as session:
            await crud.create(session, User, username="ada")
        async with database.reading() as session:
            assert await crud.exists(session, User, {"username": "ada"})
        assert (await database.check()).ok


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
async def test_a_server_that_is_away_is_told(kind: str) -> None:
    url = f"{kind}://ada:secret@127.0.0.1:{ports.free(1)[0]}/db"
    async with Database(url) as database:
        found = await database.check()
        assert (found.ok, found.reachable, found.writable, found.latency, found.schema) == (
            False,
            False,
            False,
            None,
            None,
        )
        assert found.error
        assert "secret" not in found.error
        with pytest.raises(Unavailable) as raised:
            async with database.session() as session:
                await crud.count(session, User, {})
        assert "secret" not in str(raised.value)


async def test_a_server_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    monkeypatch.setattr("src.database.CHECK_TIMEOUT", 0.2)
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        async with Database(f"postgresql://ada@127.0.0.1:{server.sockets[0].getsockname()[1]}/db") as database:
            assert (await database.check()).error == "no answer in time"
        never.set()


@pytest.mark.parametrize("beside", [NOBODY[0], pytest.param(NOBODY[1], marks=pytest.mark.databases)])
async def test_a_refused_login_is_told(beside: str) -> None:
    async with Database(f"{beside}/no_such_database") as database:
        found = await database.check()
        assert not found.reachable
        assert "nobody" in str(found.error)
        assert "wrong-password" not in str(found.error)
        with pytest.raises(Unavailable, match="nobody"):
            async with database.session() as session:
                await crud.count(session, User, {})


async def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/no/such/folder.db") as database:
        assert (await database.check()).error == "unable to open database file"
        with pytest.raises(Unavailable, match="unable to open"):
            async with database.session() as session:
                await crud.count(session, User, {})


async def test_a_database_that_only_reads_is_told(own_database_url: str) -> None:
    name = sa.make_url(own_database_url).database
    await harness.execute(own_database_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with Database(own_database_url) as database:
        found = await database.check()
    assert (found.reachable, found.writable, found.ok, found.schema) == (True, False, False, Revision.CURRENT)


def test_nothing_reads_the_environment_or_asks_for_fastapi_until_it_is_needed() -> None:
    program = """
import sys
from src.library import Base, Database, User, get_session
from src.database import Database
assert User.metadata is Base.metadata
assert not {"config", "fastapi", "faststream", "aio_pika"} & sys.modules.keys(), "imported at once"
from src.library import engine
"""
    environment = os.environ | {"DATABASE_URL": "oracle://x"}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=harness.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stderr.splitlines()[-1].startswith("src.settings.WrongSettings: DATABASE_URL: names oracle")


def test_every_class_has_a_name_of_its_own() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'NoSuch'"):
        _ = library.NoSuch
    with pytest.raises(ImportError, match="NoSuch"):
        exec("from src.library import NoSuch")
    models = {mapper.class_ for mapper in library.Base.registry.mappers if mapper.class_.__module__.startswith("src.")}
    assert models <= set(library._classes().values())
