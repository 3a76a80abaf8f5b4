"""MariaDB in the place of PostgreSQL, found or started; and one to be broken."""

from collections.abc import AsyncIterator, Iterator

import pytest

import config
from dev import servers
from dev.mariadb import MariaServer, program
from src.database import Database
from tests.support import harness


@pytest.fixture(scope="session")
def postgres_url() -> str:
    return servers.find_mariadb().url


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[str]:
    with harness.migrated(postgres_url) as url:
        yield url


@pytest.fixture
async def database(own_database_url: str) -> AsyncIterator[Database]:
    made = Database(own_database_url)
    yield made
    await made.dispose()


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaServer]:
    """A MariaDB to be broken."""
    if program("mariadbd") is None:
        pytest.skip("this system has no mariadbd of its own")
    with MariaServer(tmp_path_factory.mktemp("mariadb"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def fragile_template(mariadb: MariaServer) -> Iterator[str]:
    with harness.migrated(mariadb.url) as url:
        yield url


@pytest.fixture
async def fragile(mariadb: MariaServer, fragile_template: str, rabbitmq_url: str) -> AsyncIterator[config.Settings]:
    """Settings with the MariaDB that is to be broken."""
    async with harness.isolated(mariadb.url, fragile_template, rabbitmq_url) as settings:
        yield settings
