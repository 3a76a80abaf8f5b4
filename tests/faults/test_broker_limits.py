"""Limits of a virtual host: connections are waited for, a refused queue is neither emptied nor deleted."""

import asyncio
from collections.abc import Iterator

import pytest
from yarl import URL

import config
from dev.rabbitmq import RabbitServer
from src import service
from src.amqp import connections
from tests.faults.test_start import refusal
from tests.support import harness
from tests.support.harness import Process

VHOST = "limited"
SERVICE_CONNECTIONS = 3


@pytest.fixture
def limited_url(private_rabbitmq: RabbitServer) -> Iterator[str]:
    private_rabbitmq.ctl("add_vhost", VHOST)
    private_rabbitmq.ctl("set_permissions", "-p", VHOST, "guest", ".*", ".*", ".*")
    yield str(URL(private_rabbitmq.url).with_path(f"/{VHOST}"))
    private_rabbitmq.ctl("delete_vhost", VHOST)


async def _limit(server: RabbitServer, name: str, most: int) -> None:
    await asyncio.to_thread(server.ctl, "set_vhost_limits", "-p", VHOST, f'{{"{name}": {most}}}')


@pytest.mark.parametrize("most", range(SERVICE_CONNECTIONS))
async def test_a_limit_of_connections_is_waited_for(
    most: int, settings: config.Settings, private_rabbitmq: RabbitServer, limited_url: str
) -> None:
    await _limit(private_rabbitmq, "max-connections", most)
    async with Process(settings, RABBITMQ_URL=limited_url) as process:
        said = await process.says("waiting for RabbitMQ")
        assert f"connection limit ({most}) is reached" in said
        await _limit(private_rabbitmq, "max-connections", -1)
        await process.consuming()


async def test_a_limit_of_queues_is_no_difference_of_arguments(
    settings: config.Settings, private_rabbitmq: RabbitServer, limited_url: str
) -> None:
    await _limit(private_rabbitmq, "max-queues", 4)
    line = await refusal(settings, RABBITMQ_URL=limited_url)
    assert "(4) is reached" in line
    assert "Raise this limit" in line
    assert "delete" not in line


async def test_doctor_tells_a_limit_from_a_missing_virtual_host(
    settings: config.Settings, private_rabbitmq: RabbitServer, limited_url: str
) -> None:
    await _limit(private_rabbitmq, "max-connections", 0)
    for url, said in ((limited_url, "connection limit (0) is reached"), (f"{private_rabbitmq.url}nowhere", "no such")):
        own = config.load(_env_file=None, database_url=settings.dsn, rabbitmq_url=url)
        assert any(said in each.what for each in await service.examine(own))


@pytest.mark.parametrize("name", ["nowhere", "limit (1) is reached"])
async def test_a_missing_virtual_host_is_refused_by_any_name(name: str, private_rabbitmq: RabbitServer) -> None:
    with pytest.raises(connections.StartupError, match="has no virtual host"):
        await asyncio.wait_for(connections.wait_until_up(str(URL(private_rabbitmq.url) / name)), 30)


async def test_a_client_is_told_of_the_limit(
    settings: config.Settings, private_rabbitmq: RabbitServer, limited_url: str
) -> None:
    await _limit(private_rabbitmq, "max-connections", 0)
    own = config.load(_env_file=None, database_url=settings.dsn, rabbitmq_url=limited_url)
    with pytest.raises(connections.CONNECTION_ERRORS, match=r"connection limit \(0\) is reached"):
        async with harness.connected(own):
            pass
