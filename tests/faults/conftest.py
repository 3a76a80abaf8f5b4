"""Servers to be broken, and settings of a service on them."""

from collections.abc import AsyncIterator, Iterator

import pytest

import config
from dev.postgres import PostgresServer
from dev.rabbitmq import RabbitServer
from tests.support import harness


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL to be broken."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def fragile_template(postgres: PostgresServer) -> Iterator[str]:
    with harness.migrated(postgres.url) as url:
        yield url


@pytest.fixture
async def fragile(postgres: PostgresServer, fragile_template: str, rabbitmq_url: str) -> AsyncIterator[config.Settings]:
    """Settings with the PostgreSQL that is to be broken."""
    async with harness.isolated(postgres.url, fragile_template, rabbitmq_url) as settings:
        yield settings


@pytest.fixture
async def shaky(postgres_url: str, template: str, private_rabbitmq: RabbitServer) -> AsyncIterator[config.Settings]:
    """Settings with the RabbitMQ that is to be broken."""
    async with harness.isolated(postgres_url, template, private_rabbitmq.url) as settings:
        yield settings
