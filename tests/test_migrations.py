"""The schema that the migrations make is the schema of the models, and they do not race."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from dev import database
from src import models, schema
from src.base import Base
from src.database import Database
from src.processing import inbox
from tests.support import forked, harness


def _alembic(url: str, *arguments: str) -> None:
    ended = forked.run("alembic", *arguments, DATABASE_URL=url)
    assert ended.code == 0, ended.err


def _asyncpg(url: str) -> sa.URL:
    return make_url(url).set(drivername="postgresql+asyncpg")


async def _schema(url: str) -> list[Any]:
    """Every column, constraint and index, in the words of PostgreSQL."""
    return await harness.fetch(
        url,
        """
        SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, ''),
               coalesce(character_maximum_length, 0), coalesce(collation_name, '')
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
        UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), contype::text, '', 0, ''
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass
        UNION ALL SELECT tablename, indexname, indexdef, '', '', 0, ''
        FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
        ORDER BY 1, 2, 3
        """,
    )


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    """A database with nothing in it."""
    with database.fresh(postgres_url, "db_empty") as url:
        yield url


async def test_the_migrations_make_the_schema_of_the_models(database_url: str, empty_url: str) -> None:
    models.entities()
    engine = create_async_engine(_asyncpg(empty_url))
    async with engine.begin() as connection:
        await connection.run_sync(inbox.table.metadata.create_all)
        await connection.execute(sa.text("CREATE TABLE alembic_version (version_num text)"))
    await engine.dispose()
    assert await _schema(empty_url) == await _schema(database_url)


async def test_alembic_finds_no_difference(database_url: str) -> None:
    models.entities()
    engine = create_async_engine(_asyncpg(database_url))

    def compare(connection: sa.Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(compare) == []
    await engine.dispose()


async def test_down_and_up_again_is_the_same_schema(database_url: str) -> None:
    before = await _schema(database_url)
    await asyncio.to_thread(_alembic, database_url, "downgrade", "base")
    assert await _schema(database_url) == []
    await asyncio.to_thread(_alembic, database_url, "upgrade", "head")
    assert await _schema(database_url) == before


async def test_two_upgrades_at_once_do_not_race(empty_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(_alembic, empty_url, "upgrade", "head") for _ in range(2)))
    assert len(await harness.fetch(empty_url, "SELECT * FROM alembic_version")) == 1


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("SELECT 1", schema.Revision.CURRENT),
        ("DELETE FROM alembic_version", schema.Revision.BEHIND),
        ("UPDATE alembic_version SET version_num = 'later'", schema.Revision.AHEAD),
    ],
)
async def test_the_code_knows_whether_the_schema_fits(database_url: str, change: str, seen: schema.Revision) -> None:
    await harness.execute(database_url, change)
    db = Database(database_url)
    assert await db.revision() == seen
    await db.dispose()


async def test_it_is_said_where_the_schema_is_now_and_nothing_of_how_alembic_works(database_url: str) -> None:
    ended = await asyncio.to_thread(forked.run, "main.py", "migrate", DATABASE_URL=database_url)
    (line,) = ended.err.splitlines()
    assert (ended.code, "is migrated to head" in line) == (0, True)


async def test_a_wrong_revision_is_one_clear_line(database_url: str) -> None:
    ended = await asyncio.to_thread(forked.run, "main.py", "migrate", uuid.uuid4().hex, DATABASE_URL=database_url)
    assert ended.code == 1
    (line,) = [line for line in ended.err.splitlines() if "level=info" not in line]
    assert "Can't locate revision" in line
