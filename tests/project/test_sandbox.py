"""What a demo and a test stand on is gone when they end, however they end."""

from contextlib import suppress
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest
from aio_pika.exceptions import ChannelNotFoundEntity

import config
from examples import sandbox
from src import wire
from tests.support import harness


async def test_a_database_is_dropped_also_after_an_error(postgres_url: str) -> None:
    with suppress(RuntimeError):
        async with sandbox.database(postgres_url, "db_test") as url:
            assert await harness.fetch(url, "SELECT current_database()") == [(_name(url),)]
            raise RuntimeError
    assert await harness.fetch(postgres_url, "SELECT 1 FROM pg_database WHERE datname = :name", name=_name(url)) == []


async def test_a_database_has_the_tables_of_its_template(postgres_url: str) -> None:
    async with sandbox.database(postgres_url, "db_test") as template:
        await harness.execute(template, "CREATE TABLE things (id int)")
        async with sandbox.database(postgres_url, "db_test", template) as url:
            assert await harness.fetch(url, "SELECT * FROM things") == []


async def test_nothing_that_a_service_declares_is_left(settings: config.Settings) -> None:
    url = settings.rabbitmq_url.get_secret_value()
    async with sandbox.service(url, "test") as names:
        own = settings.model_copy(update={"service_name": names.service})
        async with harness.running(own):
            exchanges = [name for name in names.exchanges if name != names.writes]  # for several partitions alone
            assert await _declared(url, names) == [*names.queues(1), *exchanges]
    assert await _declared(url, names) == []


async def test_a_server_that_is_away_is_told(postgres_url: str) -> None:
    with pytest.raises(sandbox.SandboxError, match=r"PostgreSQL at 127\.0\.0\.1:1: "):
        async with sandbox.database("postgresql://postgres@127.0.0.1:1/postgres", "db_test"):
            pass


async def _declared(url: str, names: wire.Names) -> list[str]:
    """The queues, then the exchanges, that are there under these names."""
    found = []
    for name in names.queues(1):
        async with harness.channel(url) as channel:
            with suppress(ChannelNotFoundEntity):
                found.append((await channel.get_queue(name)).name)
    for name in names.exchanges:
        async with harness.channel(url) as channel:
            with suppress(ChannelNotFoundEntity):
                found.append((await channel.get_exchange(name)).name)
    return found


def _name(url: str) -> str:
    return PurePosixPath(urlsplit(url).path).name
