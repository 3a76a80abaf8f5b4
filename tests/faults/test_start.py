"""The start: a server that is not there yet is waited for, what is wrong is said in one line."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

import config
from dev import ports
from dev.postgres import PostgresServer
from tests.faults.ending import stopped
from tests.support import harness
from tests.support.harness import Process


async def refusal(settings: config.Settings, **more: str) -> str:
    """What the service says when it refuses to start: one line, no traceback."""
    async with Process(settings, **more) as process:
        assert await process.wait() == 1
    return the_line(process)


def the_line(process: Process) -> str:
    """The one line of its log that tells of more than its progress."""
    lines = [line for line in process.log if "level=info" not in line]
    assert len(lines) == 1, "".join(lines)
    return lines[0]


def elsewhere(url: str, **parts: Any) -> str:
    """The URL with a wrong part."""
    parsed = URL(url)
    return str(parsed.with_password(parts["password"]) if "password" in parts else parsed.with_path(parts["path"]))


async def test_started_before_the_database_it_waits(fragile: config.Settings, postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.stop)
    async with Process(fragile) as process, harness.connected(fragile) as client:
        await process.says("waiting for PostgreSQL")
        await asyncio.to_thread(postgres.start)
        await process.consuming()
        await client.call("session.create", {})


async def test_started_before_the_broker_it_waits(settings: config.Settings, rabbitmq_url: str) -> None:
    (port,) = ports.free(1)
    later = str(URL(rabbitmq_url).with_port(port))
    async with Process(settings, RABBITMQ_URL=later) as process, harness.connected(settings) as client:
        await process.says("waiting for RabbitMQ")
        async with forwarded(port, URL(rabbitmq_url)):
            await process.consuming()
            await client.call("session.create", {})
            await stopped(process)


@contextlib.asynccontextmanager
async def forwarded(port: int, to: URL) -> AsyncIterator[None]:
    """The server at this URL, at another port of ours."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(to.host, to.port or 5672)
        await asyncio.gather(pipe(reader, outer), pipe(inner, writer), return_exceptions=True)

    async with await asyncio.start_server(connect, "127.0.0.1", port):
        yield


async def test_a_wrong_broker_password_is_said_in_one_line(settings: config.Settings, rabbitmq_url: str) -> None:
    line = await refusal(settings, RABBITMQ_URL=elsewhere(rabbitmq_url, password="wrong"))
    assert "refuses the login" in line
    assert "wrong" not in line


async def test_a_wrong_virtual_host_is_said_in_one_line(settings: config.Settings, rabbitmq_url: str) -> None:
    assert "nowhere" in await refusal(settings, RABBITMQ_URL=elsewhere(rabbitmq_url, path="/nowhere"))


async def test_a_wrong_database_name_is_said_in_one_line(settings: config.Settings, database_url: str) -> None:
    assert "nowhere" in await refusal(settings, DATABASE_URL=elsewhere(database_url, path="/nowhere"))


async def test_a_database_that_is_not_migrated_is_said_in_one_line(
    settings: config.Settings, postgres_url: str, database_url: str
) -> None:
    await harness.execute(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    assert "./db migrate" in await refusal(settings)


async def test_a_schema_that_is_ahead_is_warned_of_and_served(settings: config.Settings, database_url: str) -> None:
    await harness.execute(database_url, "UPDATE alembic_version SET version_num = 'of tomorrow'")
    async with Process(settings) as process, harness.connected(settings) as client:
        await process.says("ahead of this version")
        await process.consuming()
        await client.call("session.create", {})


@pytest.mark.parametrize("name", ["writes.0", "dead"])
async def test_a_queue_declared_with_other_arguments_is_said_in_one_line(settings: config.Settings, name: str) -> None:
    queue = f"{settings.service_name}.{name}"
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as raw:
        await raw.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    async with Process(settings) as process:
        assert await process.wait() == 1
    line = the_line(process)
    assert queue in line
    assert "cannot be changed" in line
    assert "./db dead" in line
