"""A database of each kind, with every table, and nothing in it as a test begins."""

import uuid
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from dev import servers
from examples import databases
from src import crud, library, schema
from src.database import Database

KINDS = ["postgresql", *(pytest.param(kind, marks=pytest.mark.databases) for kind in ("sqlite", "mariadb"))]


@pytest.fixture(scope="session")
def mariadb_url() -> str:
    return servers.find_mariadb().url


@pytest.fixture(params=KINDS, scope="module")
def server_url(request: pytest.FixtureRequest, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where there may be more databases of this kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/db.db"
    return postgres_url if request.param == "postgresql" else str(request.getfixturevalue("mariadb_url"))


@pytest.fixture(scope="module")
async def made_url(server_url: str) -> AsyncIterator[str]:
    """A database of this kind, and the tables in it, for all tests of a file."""
    url = await databases.make(server_url, f"db_test_{uuid.uuid4().hex[:12]}")
    async with Database(url) as opened:
        await opened.create_tables()
    yield url
    await databases.drop(url)


@pytest.fixture
async def url(made_url: str) -> str:
    """The same, empty."""
    async with Database(made_url) as opened:
        await empty(opened)
    return made_url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as opened:
        yield opened


@pytest.fixture
async def ada(database: Database) -> uuid.UUID:
    """The id of a user of this name."""
    made = uuid.uuid4()
    async with database.session() as session:
        await crud.create(session, library.User, id=made, username="ada")
    return made


@pytest.fixture
async def of_process(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """The database that the settings of this process name."""
    monkeypatch.setenv("DATABASE_URL", url)
    library.database.cache_clear()
    async with library.database() as opened:
        yield opened
    library.database.cache_clear()


async def empty(database: Database) -> None:
    """Delete every row."""
    async with database.session() as session:
        for table in reversed(schema.metadata().sorted_tables):
            await session.execute(table.delete())


async def execute(database: Database, *statements: str) -> None:
    """All in one transaction."""
    async with database.session() as session:
        for statement in statements:
            await session.execute(sa.text(statement))
