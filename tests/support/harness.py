"""What the tests stand on: the service in this process or in one of its own, raw AMQP, raw SQL."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import sqlalchemy as sa
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

import config
from dev import database
from examples import databases, sandbox
from src import wire
from src.base import Base
from src.client import Client
from src.database import Database
from src.entity import Entity
from src.processing import inbox
from src.service import Service
from tests.support import forked, started
from tests.support.started import Started

ROOT = Path(__file__).parents[2]
DEADLINE = started.DEADLINE


def names(settings: config.Settings) -> wire.Names:
    return wire.Names(settings.service_name)


@contextlib.asynccontextmanager
async def running(settings: config.Settings, entities: Iterable[Entity] | None = None) -> AsyncIterator[Service]:
    """The service in this process, consuming; stopped as SIGTERM would at the end."""
    service = Service(settings, entities)
    await service.app.start()
    try:
        async with asyncio.timeout(DEADLINE):
            await service.broker.consuming()
        yield service
    finally:
        await service.app.stop()
    if service.failure:
        raise service.failure


@contextlib.contextmanager
def migrated(postgres_url: str) -> Iterator[str]:
    """A migrated database that nobody connects to, to be cloned."""
    with database.fresh(postgres_url, "db_template") as url:
        ended = forked.run("main.py", "migrate", DATABASE_URL=url)
        assert ended.code == 0, ended.err
        yield url


@contextlib.asynccontextmanager
async def cloned(postgres_url: str, template: str) -> AsyncIterator[str]:
    """A clone of the template, dropped at the end."""
    name = f"db_test_{uuid.uuid4().hex[:12]}"
    url = await databases.make(postgres_url, name, template)
    yield url
    await databases.drop(url)


@contextlib.asynccontextmanager
async def named(database_url: str, rabbitmq_url: str) -> AsyncIterator[config.Settings]:
    """Settings of a service with a name of its own; what it declares is deleted at the end."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    chosen = config.load(_env_file=None, database_url=database_url, rabbitmq_url=rabbitmq_url, service_name=name)
    yield chosen
    await delete_topology(chosen)


@contextlib.asynccontextmanager
async def isolated(postgres_url: str, template: str, rabbitmq_url: str) -> AsyncIterator[config.Settings]:
    """Settings of a service with a name and a database of its own, both gone at the end."""
    async with cloned(postgres_url, template) as url, named(url, rabbitmq_url) as chosen:
        yield chosen


async def empty(url: str) -> None:
    """Delete every row: faster than a database of its own, or than to truncate."""
    await execute(url, *(f"DELETE FROM {table}" for table in reversed(inbox.table.metadata.sorted_tables)))


@contextlib.asynccontextmanager
async def connected(settings: config.Settings, **options: Any) -> AsyncIterator[Client]:
    """A client of the service that has these settings."""
    url = settings.rabbitmq_url.get_secret_value()
    async with Client(url, service=settings.service_name, timeout=DEADLINE, **options) as client:
        yield client


@contextlib.asynccontextmanager
async def channel(url: str) -> AsyncIterator[AbstractChannel]:
    """Raw AMQP, with confirms."""
    connection = await aio_pika.connect(url)
    async with connection:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)


@contextlib.asynccontextmanager
async def collected(
    settings: config.Settings, exchange: str, pattern: str = "#"
) -> AsyncIterator[list[AbstractIncomingMessage]]:
    """Every message that this exchange routes by this pattern from now on, in a list that grows."""
    url = settings.rabbitmq_url.get_secret_value()
    async with channel(url) as raw:
        queue = await raw.declare_queue(exclusive=True)
        await queue.bind(exchange, pattern)
        messages: list[AbstractIncomingMessage] = []

        async def collect(message: AbstractIncomingMessage) -> None:
            messages.append(message)

        await queue.consume(collect, no_ack=True)
        yield messages


async def depth(settings: config.Settings, queue: str) -> int:
    """How many messages are ready in a queue."""
    async with channel(settings.rabbitmq_url.get_secret_value()) as raw:
        return (await raw.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def eventually(condition: Callable[[], Awaitable[object]], what: str, deadline: float = DEADLINE) -> None:
    """Ask until it holds: for what no event tells (the broker's own counts)."""
    async with asyncio.timeout(deadline):
        while not await condition():
            await asyncio.sleep(0.02)
    assert await condition(), what


async def given_back(settings: config.Settings, queue: str) -> int:
    """How many messages are ready once nobody consumes the queue: the broker hears a moment later that one has gone."""
    async with channel(settings.rabbitmq_url.get_secret_value()) as raw:

        async def is_left_alone() -> bool:
            return not (await raw.declare_queue(queue, passive=True)).declaration_result.consumer_count

        await eventually(is_left_alone, f"nobody consumes {queue}")
    return await depth(settings, queue)


async def execute(url: str, *statements: str) -> None:
    """Each in a transaction of its own."""
    async with Database(url).connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def script(url: str, statements: str) -> None:
    """Several statements in one text, which PostgreSQL's driver takes."""
    async with Database(url).connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute(statements)


async def fetch(url: str, query: str | sa.Select[*tuple[Any, ...]], **values: object) -> list[tuple[Any, ...]]:
    """What text finds, as the driver gives it, or a statement, as Python has it.

    ``values`` are those of the query's ``:names``.
    """
    statement = sa.text(query) if isinstance(query, str) else query
    async with Database(url).connect() as connection:
        return [tuple(row) for row in await connection.execute(statement, values)]


async def rows(url: str, model: type[Base]) -> list[tuple[Any, ...]]:
    """All rows of the model, as Python has them, by id."""
    table = model.__table__
    return await fetch(url, sa.select(table).order_by(table.c.id))


async def delete_topology(settings: config.Settings) -> None:
    """Delete everything that the service declares."""
    url = settings.rabbitmq_url.get_secret_value()
    await sandbox.delete_topology(url, names(settings), settings.write_partitions)


def environment(settings: config.Settings, **more: str) -> dict[str, str]:
    """The environment that gives a process these settings."""
    given = settings.model_dump(exclude_none=True, exclude_defaults=True)
    secret = {
        name.upper(): value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in given.items()
    }
    return os.environ | secret | more


class Process(Started):
    """``main.py serve`` in a process of its own; with a ``point`` it kills itself there."""

    def __init__(self, settings: config.Settings, point: str | None = None, **more: str) -> None:
        super().__init__(("main.py", "serve"), environment(settings, **more), point)

    async def consuming(self) -> None:
        """Wait until it consumes writes."""
        await self.says("writes.0: consuming")
