"""A database and a service name of one's own, both gone at the end: what a demo or a test stands on."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from sqlalchemy.exc import SQLAlchemyError

from examples import databases
from src import wire
from src.dialects import place
from src.dialects.driver_errors import describe


class SandboxError(Exception):
    """A database cannot be made; the message says why."""


@asynccontextmanager
async def database(url: str, prefix: str, template: str | None = None) -> AsyncIterator[str]:
    """The URL of a new database beside the one at ``url``, a clone of that at ``template``. Raises SandboxError."""
    try:
        made = await databases.make(url, f"{prefix}_{_unique()}", template)
    except (OSError, SQLAlchemyError) as error:
        raise SandboxError(f"{place(url)}: {describe(error)}") from error
    try:
        yield made
    finally:
        await databases.drop(made)


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
