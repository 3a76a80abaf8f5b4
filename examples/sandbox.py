"""A database and a service name of one's own, both gone at the end: what a demo or a test stands on."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aio_pika
import asyncpg

from src import wire

CONNECT_SECONDS = 10


class SandboxError(Exception):
    """PostgreSQL does not let us make or drop a database."""


@asynccontextmanager
async def database(url: str, prefix: str, template: str = "template1") -> AsyncIterator[str]:
    """The URL of a new database beside the one at ``url``, a clone of the template. Raises SandboxError."""
    name = f"{prefix}_{_unique()}"
    await _execute(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        await _execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@asynccontextmanager
async def service(rabbitmq_url: str, prefix: str, partitions: int = 1) -> AsyncIterator[wire.Names]:
    """The names of a service that nobody else has. What it declares is deleted at the end: stop it before."""
    names = wire.Names(f"{prefix}-{_unique()}")
    try:
        yield names
    finally:
        await delete_topology(rabbitmq_url, names, partitions)


async def delete_topology(rabbitmq_url: str, names: wire.Names, partitions: int) -> None:
    """Delete everything that a service with so many partitions declares."""
    async with await aio_pika.connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        for queue in names.queues(partitions):
            await channel.queue_delete(queue)
        for exchange in names.exchanges:
            await channel.exchange_delete(exchange)


def _unique() -> str:
    return uuid.uuid4().hex[:12]


async def _execute(url: str, statement: str) -> None:
    """By way of the database ``postgres``: nobody may be connected to what is cloned or dropped."""
    try:
        connection = await asyncpg.connect(url, database="postgres", timeout=CONNECT_SECONDS)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError) as error:
        raise SandboxError(f"PostgreSQL: {str(error) or type(error).__name__}") from error
