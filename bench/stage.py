"""The queues and rows of one measurement: set before it, looked at after it, gone at its end."""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import aiormq
import asyncpg
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.common import FieldTable
from sqlalchemy import make_url

from src import wire
from src.amqp.topology import Topology

SESSIONS = 100  # that the queries belong to; a single one would be a hot row for those that commit one by one
AT_ONCE = 500  # messages that are published before their confirms are awaited
QUORUM: FieldTable = {"x-queue-type": "quorum"}
READ_TTL = 30


class Failed(Exception):
    """A program did not do its work; there is nothing to compare."""


@dataclass(frozen=True)
class Scene:
    """Where messages are published, and where each must be in the end: one in each of ``results``, one row a table.

    ``service`` is the name of the service where it is one, ``requests`` the queue that is consumed.
    """

    service: str = ""
    requests: str = ""
    exchange: str = ""
    routing_key: str = ""
    reply_to: str | None = None
    results: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    exchanges: tuple[str, ...] = ()

    @property
    def queues(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.requests, *self.results, *self.empty)))


@dataclass(frozen=True)
class Query:
    """One request, the same for every program."""

    message_id: str
    body: bytes


def queries(number: int, sessions: Sequence[uuid.UUID]) -> list[Query]:
    """So many requests to create a query in one of the sessions."""
    return [Query(str(uuid.uuid4()), _body(index, sessions[index % len(sessions)])) for index in range(number)]


def _body(index: int, session: uuid.UUID) -> bytes:
    text = f"When does the last train to the coast leave? ({index})"
    query = {"id": str(uuid.uuid4()), "session_id": str(session), "text": text, "metadata": {"k": index}}
    return json.dumps(query).encode()


class Stage:
    """What the measurements of one run share: connections to both servers, sessions, requests, a name."""

    def __init__(self, name: str, amqp: AbstractConnection, rows: Any, requests: Sequence[Query]) -> None:
        self._names = (f"{name}_{number}" for number in itertools.count(1))
        self._amqp = amqp
        self._rows = rows
        self._requests = requests

    @asynccontextmanager
    async def rows_only(self) -> AsyncIterator[Scene]:
        """No message, one row for each request."""
        await self._truncate()
        yield Scene(tables=("queries",))

    @asynccontextmanager
    async def queue_to_queue(self, *tables: str) -> AsyncIterator[Scene]:
        """One quorum queue of requests, one of results."""
        name = next(self._names)
        requests, results = f"{name}.requests", f"{name}.results"
        scene = Scene(requests=requests, routing_key=requests, results=(results,), tables=tables)
        async with self._cleared(scene):
            async with self._channel() as channel:
                for queue in scene.queues:
                    await channel.queue_declare(queue, durable=True, arguments=QUORUM)
                await self._load(channel, scene)
            yield scene

    @asynccontextmanager
    async def service(self, *, reply: bool) -> AsyncIterator[Scene]:
        """The service's own topology, its events in a quorum queue, its replies in another where there are any."""
        names = wire.Names(next(self._names))
        events, replies = f"{names.service}.seen", f"{names.service}.replies"
        scene = Scene(
            service=names.service,
            requests=names.partition(0),
            exchange=names.requests,
            routing_key="query.create",
            reply_to=replies if reply else None,
            results=(events, replies) if reply else (events,),
            empty=(names.dead, names.unrouted, names.reads),
            tables=("queries", "inbox"),
            exchanges=tuple(names.exchanges),
        )
        async with self._cleared(scene):
            async with self._channel() as channel:
                await Topology(names, writes=["query.create"], reads=[], partitions=1, read_ttl=READ_TTL).declare(
                    channel
                )
                for queue in scene.results:
                    await channel.queue_declare(queue, durable=True, arguments=QUORUM)
                await channel.queue_bind(events, names.events, "query.created")
                await self._load(channel, scene)
            yield scene

    async def check(self, scene: Scene) -> None:
        """Raise Failed unless every message was really served."""
        number = len(self._requests)
        async with self._channel() as channel:
            if scene.requests:
                _expect("requests that nobody took", await _untaken(channel, scene.requests), 0)
            for queue in scene.results:
                _expect(f"messages in {queue}", await _depth(channel, queue), number)
            for queue in scene.empty:
                _expect(f"messages in {queue}", await _depth(channel, queue), 0)
        for table in scene.tables:
            count = await self._rows.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of ours
            _expect(f"rows in {table}", count, number)

    async def _load(self, channel: AbstractChannel, scene: Scene) -> None:
        await self._truncate()
        for requests in itertools.batched(self._requests, AT_ONCE):
            await asyncio.gather(*(_publish(channel, scene, query) for query in requests))

    async def _truncate(self) -> None:
        await self._rows.execute("TRUNCATE queries, inbox")

    @asynccontextmanager
    async def _cleared(self, scene: Scene) -> AsyncIterator[None]:
        try:
            yield
        finally:
            async with self._channel() as channel:
                for queue in scene.queues:
                    await channel.queue_delete(queue)
                for exchange in scene.exchanges:
                    await channel.exchange_delete(exchange)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[Channel]:
        """One for a while: what is interrupted on it closes it, and it has done what it was told when it is closed."""
        channel = await self._amqp.channel(publisher_confirms=True, on_return_raises=True)
        try:
            yield cast("Channel", channel)
        finally:
            await channel.close()


@asynccontextmanager
async def opened(rabbitmq_url: str, database_url: str, messages: int) -> AsyncIterator[Stage]:
    """A stage with so many requests, in a migrated database of its own. Queues are named after that."""
    name = str(make_url(database_url).database)
    amqp, rows = await aiormq.connect(rabbitmq_url), await asyncpg.connect(database_url)
    try:
        sessions = [uuid.uuid4() for _ in range(SESSIONS)]
        await rows.executemany("INSERT INTO sessions (id) VALUES ($1)", [(session,) for session in sessions])
        yield Stage(name, amqp, rows, queries(messages, sessions))
    finally:
        await rows.close()
        await amqp.close()


async def _publish(channel: AbstractChannel, scene: Scene, query: Query) -> None:
    properties = Basic.Properties(
        content_type=wire.JSON,
        message_id=query.message_id,
        correlation_id=query.message_id,
        reply_to=scene.reply_to,
        delivery_mode=2,
    )
    await channel.basic_publish(
        query.body, exchange=scene.exchange, routing_key=scene.routing_key, properties=properties, mandatory=True
    )


async def _untaken(channel: AbstractChannel, queue: str) -> int:
    """How many messages nobody was given.

    What was served may be there again: RabbitMQ keeps acks back while more than 32 of a channel are not written yet
    (``rabbit_fifo_client``), and drops those when the channel is closed.
    """
    left = [await channel.basic_get(queue, no_ack=True) for _ in range(await _depth(channel, queue))]
    return sum(not message.redelivered for message in left)


async def _depth(channel: AbstractChannel, queue: str) -> int:
    """How many messages a queue holds when nobody consumes it any more: what was not acked is back by then."""
    while True:
        declared = await channel.queue_declare(queue, passive=True)
        if not declared.consumer_count:
            return declared.message_count or 0
        await asyncio.sleep(0.02)


def _expect(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise Failed(f"{found} {what}, where {expected} were due")
