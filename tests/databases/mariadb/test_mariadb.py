"""What is different about MariaDB is not seen by those who use the service."""

import asyncio
import logging
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

import config
from examples import databases
from src.clock import now
from src.database import Database
from src.dialects import dialect, mysql
from src.dialects.dialect import Arrays
from src.errors import TooLarge, Unavailable
from src.models.session import Session
from src.processing import inbox
from tests.support import forked, harness, requester

pytestmark = pytest.mark.databases

SECRET = "hush-hush"


async def test_a_migration_says_nothing_of_names(postgres_url: str) -> None:
    name = f"db_test_{uuid.uuid4().hex[:12]}"
    url = await databases.make(postgres_url, name)
    ended = await asyncio.to_thread(forked.run, "main.py", "migrate", DATABASE_URL=url)
    await databases.drop(url)
    assert ended.code == 0
    assert "ignored" not in ended.err


async def test_texts_that_differ_in_case_or_spaces_are_two(settings: config.Settings) -> None:
    names = ["ada", "Ada", "ada ", "ADA", "\u00e4da", "\N{GRINNING FACE}"]
    async with harness.running(settings), harness.connected(settings) as client:
        made = [(await client.call("user.create", {"username": name}))["id"] for name in names]
        found = [(await client.call("user.get_by_username", {"username": name}))["id"] for name in names]
        listed = await client.call("user.list", {"order": ["username"]})
    assert found == made
    assert [each["username"] for each in listed["items"]] == sorted(names)


async def test_ids_sort_by_their_bytes(database: Database) -> None:
    first = uuid.UUID("00000000-0000-1000-8000-000000000000")  # of a version that a type of MariaDB's own turns round
    ids = [uuid.UUID(int=first.int | 1 << bit) for bit in (0, 47, 48, 64, 80, 95, 96, 127)]
    async with database.session() as session:
        session.add_all(Session(id=each) for each in ids)
    async with database.reading() as session:
        found = (await session.scalars(sa.select(Session.id).order_by(Session.id))).all()
    assert [*found] == sorted(ids, key=lambda each: each.bytes)


async def test_a_migration_does_not_wait_for_another_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql, "MIGRATION_LOCK", mysql.MIGRATION_LOCK.replace("600", "0"))
    async with database.connect() as one, database.connect() as other:
        await one.run_sync(database.dialect.begin_migration)
        with pytest.raises(dialect.UnusableDatabase):
            await other.run_sync(database.dialect.begin_migration)


async def test_tables_made_at_once_are_those_of_the_migrations(postgres_url: str, own_database_url: str) -> None:
    url = await databases.make(postgres_url, f"db_test_{uuid.uuid4().hex[:12]}")
    async with Database(url) as made:
        await made.create_tables()
    assert await _columns(url) == await _columns(own_database_url)
    await databases.drop(url)


async def _columns(url: str) -> list[Any]:
    return await harness.fetch(
        url,
        "SELECT table_name, column_name, column_type, is_nullable, collation_name FROM information_schema.columns"
        " WHERE table_schema = database() AND table_name <> 'alembic_version' ORDER BY 1, 2",
    )


@pytest.mark.parametrize("text", ["x", "'", "\N{GRINNING FACE}"])
async def test_what_no_packet_holds_is_refused_before_it_is_sent(text: str, database: Database) -> None:
    async with database.connect() as connection:
        most = await connection.scalar(sa.text("SELECT @@max_allowed_packet"))
        long = text * (most // 2 // len(text.encode()))
        fits = long[: len(long) - 2 * mysql.OVERHEAD]
        assert await connection.scalar(sa.text("SELECT char_length(:text)"), {"text": fits}) == len(fits)
        with pytest.raises(TooLarge):
            await connection.scalar(sa.text("SELECT char_length(:text)"), {"text": long})
        assert await connection.scalar(sa.text("SELECT 1")) == 1


async def test_no_value_of_a_duplicate_is_logged_or_answered(
    settings: config.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with harness.running(settings), requester.asking(settings) as db:
        first = await db.ask("user.create", {"username": SECRET})
        again = await db.ask("user.create", {"username": SECRET})
        taken = await db.ask("user.create", {"id": first.document["id"], "username": "ada"})
    assert [again.problem, taken.problem] == ["conflict", "conflict"]
    assert SECRET not in again.body.decode()
    assert SECRET not in caplog.text
    assert "Duplicate entry" not in caplog.text


async def test_no_key_that_another_has_served_is_logged(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    row: Arrays = {"key": [b"k" * 32], "fingerprint": [b"f" * 32], "outcome": [b"o"], "received_at": [now()]}
    async with database.connect() as connection:
        for written in (1, 0):
            done = await connection.execute(*database.dialect.insert_statement(inbox.table, row, skip_existing=True))
            assert done.rowcount == written
    assert not caplog.records


async def test_a_server_that_says_nothing_is_not_waited_for(
    own_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "COMMAND_TIMEOUT", 1)
    database = Database(own_database_url)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(20), database.session() as session:
            await session.execute(sa.text("SELECT sleep(25)"))
    await database.dispose()


async def test_a_table_is_altered_between_two_reads(settings: config.Settings) -> None:
    async with harness.running(settings), harness.connected(settings) as client:
        made = await client.call("session.create", {"title": "a"})
        await harness.execute(settings.dsn, "ALTER TABLE sessions ADD COLUMN colour text, MODIFY title varchar(500)")
        assert await client.call("session.get", {"id": made["id"]}) == made
        assert (await client.call("session.list", {}))["items"] == [made]
