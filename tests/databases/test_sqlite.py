"""SQLite: one file, served by one process, as safe as a server."""

import asyncio
import os
import resource
import signal
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

import config
from src import dialects, service
from src.admin import exposition
from src.admin.findings import Level
from src.base import Base
from src.database import Database
from src.dialects import UnusableDatabase, dialect, sqlite
from src.dialects.driver_errors import translate
from src.errors import Transient, Unavailable
from src.models.session import Session, entity
from src.models.user import User
from src.processing.inbox import table as inbox
from src.processing.outcome import State
from src.processing.request import Request
from src.processing.row_size import RowSizeLimit
from src.processing.unit_of_work import UnitOfWork
from tests.faults.load import loaded
from tests.support import forked, harness
from tests.support.harness import Process
from tests.support.worlds import Sent, World

pytestmark = pytest.mark.databases

FAILED = 1


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the other fixtures make their databases."""
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/x.db"


@pytest.fixture(scope="module")
def template(postgres_url: str) -> Iterator[str]:
    with harness.migrated(postgres_url) as url:
        yield url


@pytest.fixture
def file(database_url: str) -> str:
    return str(sa.make_url(database_url).database)


async def test_a_connection_keeps_what_it_commits_and_knows_its_foreign_keys(database_url: str) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 1000 * dialect.LOCK_TIMEOUT}
    database = Database(database_url)
    async with database.session() as session:
        found = {name: await session.scalar(sa.text(f"PRAGMA {name}")) for name in expected}
    await database.dispose()
    assert found == expected


async def test_a_transaction_that_writes_says_so_as_it_begins_and_others_read_meanwhile(database_url: str) -> None:
    writer, other = Database(database_url), Database(database_url)
    async with writer.session() as writing:
        await writing.connection()
        async with other.reading() as reading, asyncio.timeout(dialect.LOCK_TIMEOUT / 2):
            assert await reading.scalar(sa.select(sa.func.count(User.id))) == 0
        raw = sqlite3.connect(str(writer.url.database), timeout=0)
        with closing(raw), pytest.raises(sqlite3.OperationalError, match="locked"):
            raw.execute("BEGIN IMMEDIATE")
    await writer.dispose()
    await other.dispose()


async def test_lower_knows_all_letters(database_url: str) -> None:
    assert await harness.fetch(database_url, "SELECT lower('ÄRGER İ ΣΑΣ'), lower(NULL)") == [
        ("ÄRGER İ ΣΑΣ".lower(), None)
    ]


async def test_there_may_be_more_values_than_a_statement_may_have_parameters(database_url: str) -> None:
    ids = [uuid.uuid4() for _ in range(40_000)]
    keys = [each.bytes * 2 for each in ids]
    database = Database(database_url)
    async with database.session() as session:
        await _limit_parameters(session, 999)
        session.add_all([User(id=each, username=str(each)) for each in ids[::10_000]])
        in_parameter = database.dialect.in_parameter(User.id, "ids")
        assert {*await session.scalars(sa.select(User.id).where(in_parameter), {"ids": ids})} == {*ids[::10_000]}
        in_parameter = database.dialect.in_parameter(inbox.c.key, "keys")
        assert (await session.scalars(sa.select(inbox.c.key).where(in_parameter), {"keys": keys})).all() == []
    await database.dispose()


async def _limit_parameters(session: AsyncSession, most: int) -> None:
    """To what builds of SQLite may have; some have 250,000."""
    raw = (await (await session.connection()).get_raw_connection()).driver_connection
    assert raw is not None
    await raw._execute(raw._conn.setlimit, sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, most)


def test_rows_that_come_to_refer_to_each_other_in_a_batch_are_written_together(
    postgres_url: str, template: str
) -> None:
    first, second = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    with World.beside(postgres_url, template) as world:
        world.begin()
        outcomes, bisections = world.play(
            [
                Sent("folder.create", {"id": first, "name": "first"}),
                Sent("folder.create", {"id": second, "name": "second", "parent_id": first}),
                Sent("folder.update", {"id": first, "parent_id": second}),
            ]
        )
    assert ([outcome.state for outcome in outcomes], bisections) == ([State.SERVED] * 3, 0)


async def test_a_database_in_memory_is_one_for_all_who_ask() -> None:
    database = Database("sqlite:///:memory:", pool_size=10)
    async with database.connect() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.commit()
    await database.probe()
    create = next(operation for operation in entity.operations() if operation.name == "create")
    asked = [Request(create, create.request.model_validate({"title": str(number)})) for number in range(3)]
    await asyncio.gather(*(UnitOfWork(database, RowSizeLimit((), 1_000_000)).apply([each]) for each in asked))
    async with database.reading() as session:
        assert await session.scalar(sa.select(sa.func.count(Session.id))) == 3
    await database.dispose()


async def test_what_cannot_be_opened_leaves_no_thread_that_outlives_the_loop() -> None:
    before = set(threading.enumerate())
    database = Database("sqlite:////nowhere/x.db")
    for _ in range(20):
        with pytest.raises(Unavailable, match="unable to open"):
            await database.probe()
        assert not [each for each in set(threading.enumerate()) - before if "asyncio" not in each.name]
    await database.dispose()


@pytest.mark.parametrize("command", ["serve", "migrate"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///:memory:", "A database in memory is gone with its process: name a file."),
        ("sqlite:////nowhere/x.db", "/nowhere/x.db"),
    ],
)
def test_what_cannot_be_served_is_one_clear_line(command: str, url: str, said: str) -> None:
    ended = forked.run("main.py", command, DATABASE_URL=url)
    assert (ended.code, len(ended.err.splitlines())) == (FAILED, 1)
    assert said in ended.err


@pytest.mark.parametrize(("name", "extra"), [("mysql", "mariadb"), ("sqlite", "sqlite")])
def test_a_missing_driver_is_told_with_the_extra_that_has_it(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(dialects.of(name)), "driver", "nowhere")
    with pytest.raises(UnusableDatabase, match=f"needs nowhere: install the extra {extra}."):
        Database(f"{name}:///x")


async def test_a_file_is_served_by_one_process_whatever_it_is_called(settings: config.Settings, file: str) -> None:
    link = f"{file}.link"
    await asyncio.to_thread(os.symlink, file, link)
    async with Process(settings) as first:
        await first.consuming()
        for path in (file, link):
            ended = await asyncio.to_thread(forked.run, "main.py", "serve", DATABASE_URL=f"sqlite:///{path}")
            assert (ended.code, ended.err) == (FAILED, f"{path} is served by another process.\n")
        first.kill()
        await first.wait()
    with Database(settings.dsn).exclusive(), pytest.raises(UnusableDatabase), Database(settings.dsn).exclusive():
        pass


async def test_killed_under_load_it_loses_and_doubles_nothing(settings: config.Settings) -> None:
    async with Process(settings) as doomed:
        await doomed.consuming()
        async with loaded(settings) as load:
            await load.answered(0.3)
            doomed.kill()
            assert await doomed.wait() == -signal.SIGKILL
            async with Process(settings):
                await load.assert_exactly_once()


async def test_a_full_disk_is_waited_for(settings: config.Settings, file: str) -> None:
    async with Process(settings) as process:
        await process.consuming()
        async with loaded(settings) as load:
            await load.answered(0.3)
            _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, most))
            await process.says("waiting for the database")
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
            await load.assert_exactly_once()


async def test_another_process_that_writes_for_long_is_waited_for_and_reads_are_answered(
    settings: config.Settings, file: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dialect, "LOCK_TIMEOUT", 0.1)
    async with harness.running(settings), loaded(settings) as load:
        await load.answered(0.3)
        with closing(_connect(file)) as other:
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")  # its turn comes while the service goes on
            await harness.eventually(lambda: _is_waited_for(caplog), "the writer waits")
            assert (await load.client.call("session.count"))["count"] > 0
        await load.assert_exactly_once()


async def test_that_a_statement_finds_the_file_locked_is_the_moments_fault(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "LOCK_TIMEOUT", 0.1)
    database = Database(database_url)
    async with database.reading() as session:
        with closing(_connect(str(database.url.database))) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sa.exc.OperationalError, match="locked") as refused:
                await session.execute(sa.delete(User))
    assert isinstance(translate(refused.value), Transient)
    await database.dispose()


def _connect(file: str) -> sqlite3.Connection:
    """It waits for who writes, whose turn may come again and again."""
    return sqlite3.connect(file, timeout=harness.DEADLINE, isolation_level=None, check_same_thread=False)


async def _is_waited_for(caplog: pytest.LogCaptureFixture) -> bool:
    return any("waiting for the database" in record.getMessage() for record in caplog.records)


async def test_who_looks_waits_for_no_other_process_that_writes(settings: config.Settings, file: str) -> None:
    database = Database(settings.dsn)
    with closing(_connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(dialect.LOCK_TIMEOUT / 2):
            await database.probe()
            assert (await database.check()).ok
            assert b"db_inbox_rows 0.0" in await exposition.Metrics(database, ()).exposition()
            assert await _broken(settings) == []
    await database.dispose()


async def _broken(settings: config.Settings, url: str = "") -> list[str]:
    """What the doctor finds broken about the database, or about another one."""
    broker = settings.rabbitmq_url.get_secret_value()
    findings = await service.examine(config.load(_env_file=None, database_url=url or settings.dsn, rabbitmq_url=broker))
    return [each.line for each in findings if each.level is Level.BROKEN and "RabbitMQ" not in each.line]


async def test_the_doctor_finds_no_file_and_makes_none(settings: config.Settings, tmp_path: Path) -> None:
    (line,) = await _broken(settings, f"sqlite:///{tmp_path}/x.db")
    assert f"SQLite at {tmp_path}/x.db is not there" in line
    (line,) = await _broken(settings, "sqlite:///:memory:")
    assert "SQLite at :memory: is gone with its process" in line
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


async def test_the_doctor_finds_a_file_without_a_schema_and_one_that_is_no_database(
    settings: config.Settings, tmp_path: Path
) -> None:
    for content, said in (b"", "schema is behind"), (b"nonsense" * 1000, "file is not a database"):
        path = tmp_path / f"{len(content)}.db"
        path.write_bytes(content)
        (line,) = await _broken(settings, f"sqlite:///{path}")
        assert said in line


async def test_the_doctor_finds_a_file_that_cannot_be_written(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # or root could write it all the same
    (line,) = await _broken(settings)
    assert "is read-only" in line


async def test_the_doctor_finds_a_build_that_does_not_wait_for_the_disk(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PRAGMAS", ("synchronous = OFF",))
    (line,) = await _broken(settings)
    assert "a crash of the machine loses what was committed" in line


def test_the_demo_is_played_beside_the_file_that_is_named_and_leaves_nothing(tmp_path: Path, rabbitmq_url: str) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/demo.db"
    ended = forked.run("main.py", "demo", DATABASE_URL=url, RABBITMQ_URL=rabbitmq_url)
    assert ended.code == 0, ended.out + ended.err
    assert list(tmp_path.iterdir()) == []
