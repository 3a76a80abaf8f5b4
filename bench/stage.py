"""The queues and rows of one measurement: set before it, filled, looked at after it, gone at its end."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import aiormq
import asyncpg
from aiormq.abc import AbstractConnection
from aiormq.channel import Channel
from pamqp.common import FieldTable
from sqlalchemy import make_url

from bench import rows, scene
from bench.requests import READS, WRITES, Request, Workload
from bench.rows import Rows
from bench.scene import Failed, Scene
from src import wire
from src.amqp.connections import Outbound
from src.amqp.frames import Message, Properties
from src.amqp.publisher import Publisher, RetryPolicy
from src.consumers.topology import Topology

AT_ONCE = 1000  # messages that are published before their confirms are awaited
KEYS = 1000  # partition keys, where there are several partitions
QUORUM: FieldTable = {"x-queue-type": "quorum"}
READ_TTL = 30


class Stage:
    """What the measurements of one run share: connections to both servers, and a name."""

    def __init__(self, name: str, amqp: AbstractConnection, publisher: Publisher, tables: Rows) -> None:
        self._names = (f"{name}_{number}" for number in itertools.count(1))
        self._amqp = amqp
        self._publisher = publisher
        self._rows = tables

    @asynccontextmanager
    async def rows_only(self, workload: Workload) -> AsyncIterator[Scene]:
        """No message, one row for each request."""
        await self._rows.reset(workload)
        yield Scene(workload, rows=True)

    @asynccontextmanager
    async def queue_to_queue(self, workload: Workload, *, stores: bool = False) -> AsyncIterator[Scene]:
        """One quorum queue of requests, one of results; ``stores`` says that a row is due as well."""
        name = next(self._names)
        requests, results = f"{name}.requests", f"{name}.results"
        one = Scene(workload, requested=(requests,), exchange=name, exchanges=(name,), results=(results,), rows=stores)
        async with self._set(one) as channel:
            await channel.exchange_declare(name, exchange_type="topic")
            for queue in one.queues:
                await channel.queue_declare(queue, durable=True, arguments=QUORUM)
            await channel.queue_bind(requests, name, "#")
            yield one

    @asynccontextmanager
    async def echo(self, workload: Workload, callers: int) -> AsyncIterator[Scene]:
        """One classic queue, such as reads have, whose messages are answered."""
        name = next(self._names)
        one = Scene(workload, requested=(name,), exchange=name, exchanges=(name,), callers=callers)
        async with self._set(one) as channel:
            await channel.exchange_declare(name, exchange_type="topic")
            await channel.queue_declare(name, durable=True)
            await channel.queue_bind(name, name, "#")
            yield one

    @asynccontextmanager
    async def service(self, workload: Workload, *, reply: bool = False, partitions: int = 1) -> AsyncIterator[Scene]:
        """The service's own topology, for writes whose results go to queues."""
        names = wire.Names(next(self._names))
        one = scene.of_service(names, workload, partitions, reply=reply)
        async with self._set(one) as channel:
            await _topology(names, partitions).declare(channel)
            for queue in one.results:
                await channel.queue_declare(queue, durable=True, arguments=QUORUM)
            await channel.queue_bind(one.results[0], names.events, "query.#")
            yield one

    @asynccontextmanager
    async def reads(self, workload: Workload, callers: int) -> AsyncIterator[Scene]:
        """The service's own topology, for reads whose answers go to callers."""
        names = wire.Names(next(self._names))
        async with self._set(scene.of_reads(names, workload, callers)) as channel:
            await _topology(names, 1).declare(channel)
            yield scene.of_reads(names, workload, callers)

    async def load(self, one: Scene) -> None:
        """Publish the workload, where anything is consumed. Raises Failed where the broker refuses a request."""
        if not one.requested:
            return
        requests = enumerate(one.workload.requests())
        for numbered in itertools.batched(requests, AT_ONCE):
            if not all(
                await self._publisher.publish(
                    [_message(one, *each) for each in numbered], RetryPolicy.UNTIL_REFUSED_OR_LOST_THRICE
                )
            ):
                raise Failed("the broker refused a request")

    async def depths(self, one: Scene) -> list[int]:
        """How many messages each of the requested queues holds."""
        async with self._channel() as channel:
            return [await scene.depth(channel, queue) for queue in one.requested]

    async def check(self, one: Scene, counted: int) -> None:
        """Raise Failed unless every message that was counted was really served."""
        async with self._channel() as channel:
            await scene.check(one, counted, channel, self._rows)

    @asynccontextmanager
    async def _set(self, one: Scene) -> AsyncIterator[Channel]:
        """Rows for the scene, a channel to declare its queues on, and the end of both."""
        await self._rows.reset(one.workload)
        try:
            async with self._channel() as channel:
                yield channel
        finally:
            async with self._channel() as channel:
                for queue in one.queues:
                    await channel.queue_delete(queue)
                for exchange in one.exchanges:
                    await channel.exchange_delete(exchange)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[Channel]:
        """One for a while: what is interrupted on it closes it, and it has done what it was told when it is closed."""
        channel = await self._amqp.channel()
        try:
            yield cast("Channel", channel)
        finally:
            await channel.close()


@asynccontextmanager
async def opened(
    rabbitmq_url: str, database_url: str, tables: Callable[[Any], Rows] = rows.Emptied
) -> AsyncIterator[Stage]:
    """A stage with sessions in a migrated database of its own. Queues are named after that."""
    name = str(make_url(database_url).database)
    connection = await asyncpg.connect(database_url)
    try:
        async with await aiormq.connect(rabbitmq_url) as amqp, _publisher(rabbitmq_url, name) as publisher:
            await rows.insert_sessions(connection)
            yield Stage(name, amqp, publisher, tables(connection))
    finally:
        await connection.close()


@asynccontextmanager
async def _publisher(url: str, name: str) -> AsyncIterator[Publisher]:
    outbound = Outbound(url, name)
    await outbound.connect()
    try:
        yield Publisher(outbound, _nothing)  # nobody deletes what is measured
    finally:
        await outbound.close()


async def _nothing() -> None: ...


def _topology(names: wire.Names, partitions: int) -> Topology:
    return Topology(names, writes=WRITES, reads=READS, partitions=partitions, read_ttl=READ_TTL)


def _message(one: Scene, number: int, request: Request) -> Message:
    properties = Properties(
        content_type=wire.JSON,
        message_id=request.message_id,
        correlation_id=request.message_id,
        reply_to=one.reply_to,
        delivery_mode=2,
        headers={wire.PARTITION_KEY: str(number % KEYS)} if one.partitions > 1 else None,
    )
    return Message(one.exchange, request.routing_key, request.body, properties, mandatory=True)
