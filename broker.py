"""RabbitMQ: connections and topology; joins the names of ``src/wire.py``."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, cast

import aiormq
from aio_pika import RobustConnection, connect_robust
from aiormq.channel import Channel
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionCommandInvalid,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from faststream.middlewares import AckPolicy
from faststream.rabbit import RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.broker.registrator import RabbitRegistrator
from faststream.rabbit.subscriber.config import RabbitSubscriberConfig
from faststream.rabbit.subscriber.factory import create_subscriber
from pamqp.common import FieldTable
from yarl import URL

from src import wire
from src.batches import BatchSubscriber
from src.entity import Operation
from src.frames import TolerantConnection

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10  # seconds
HEARTBEAT = 10  # seconds
RECONNECT_INTERVAL = 1  # seconds
DELIVERY_LIMIT = 100  # the last resort: it counts for a whole window, whoever was guilty


class Refused(Exception):
    """The broker does not let us in, or has something of ours that differs from what we declare."""


class Broker(RabbitBroker):
    """FastStream's broker over a connection that no message can end, with subscribers that take batches."""

    def __init__(self, url: str, name: str, graceful_timeout: float) -> None:
        super().__init__(
            _named(url, f"{name} in"),
            timeout=CONNECT_TIMEOUT,
            reconnect_interval=RECONNECT_INTERVAL,
            graceful_timeout=graceful_timeout,
            app_id=None,
            logger=None,
        )
        self._connection_kwargs["connection_class"] = TolerantConnection

    def batches(self, queue: str, **options: Any) -> BatchSubscriber:
        """Declare a subscriber that takes batches: ``@broker.batches("db.reads", limits=…, …)``."""
        common: dict[str, Any] = {"queue": RabbitQueue(queue), "exchange": RabbitExchange(), "channel": None}
        plain = create_subscriber(
            **common,
            config=cast("Any", self.config),
            consume_args=None,
            no_reply=True,
            ack_policy=AckPolicy.MANUAL,
            title_=None,
            description_=None,
            include_in_schema=False,
        )
        config = RabbitSubscriberConfig(
            **common, no_reply=True, _ack_policy=AckPolicy.MANUAL, _outer_config=cast("Any", self.config)
        )
        subscriber = BatchSubscriber(
            config, plain.specification, plain.calls, open_channel=self.open_channel, **options
        )
        super(RabbitRegistrator, self).subscriber(subscriber)
        return subscriber

    async def open_channel(self) -> Channel:
        """A plain channel of its own on the broker's connection, once that is up."""
        return await open_channel(await self.connect())


class Outbound:
    """The connection that replies, events and dead letters go out by."""

    def __init__(self, url: str, name: str) -> None:
        self._url = _named(url, f"{name} out")
        self._connection: RobustConnection | None = None

    async def connect(self) -> None:
        """Connect; from then on the connection heals itself. Raises what aio-pika raises."""
        self._connection = await connect_robust(
            self._url,
            timeout=CONNECT_TIMEOUT,
            reconnect_interval=RECONNECT_INTERVAL,
            connection_class=TolerantConnection,
        )

    async def ready(self) -> aiormq.abc.AbstractConnection:
        """Wait until the connection is up and not blocked by an alarm of the broker."""
        return await ready(self._connection)

    async def open_channel(self) -> Channel:
        """A plain channel on this connection, once that is up."""
        return await open_channel(self._connection)

    async def close(self) -> None:
        if self._connection:
            await self._connection.close()


async def ready(connection: RobustConnection | None) -> aiormq.abc.AbstractConnection:
    """Wait until the connection is up and not blocked by an alarm of the broker."""
    while connection is not None and not connection.is_closed:
        await connection.connected.wait()
        up = connection.transport and connection.transport.connection
        if up and await _unblocked(up):
            return up
        await asyncio.sleep(RECONNECT_INTERVAL / 10)
    raise ConnectionError("the connection is closed")


async def _unblocked(up: aiormq.abc.AbstractConnection) -> bool:
    """Wait while it is blocked. One that dies blocked would never say that it is not."""
    unblocked, closing = asyncio.ensure_future(up.ready()), up.closing
    try:
        done, _ = await asyncio.wait({unblocked, closing}, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            log.warning("RabbitMQ takes no messages (an alarm of memory or disk?): waiting")
            await asyncio.wait({unblocked, closing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unblocked.cancel()
        closing.cancel()  # an observer of our own, and one more each time
    return unblocked.done() and not up.is_closed


async def open_channel(connection: RobustConnection | None) -> Channel:
    """A plain channel (one that does not reopen itself), with confirms, raising what is returned."""
    up = await ready(connection)
    return cast("Channel", await up.channel(timeout=CONNECT_TIMEOUT, publisher_confirms=True, on_return_raises=True))


async def wait_until_up(url: str) -> None:
    """Return when the broker lets us in. Raises Refused where it answers, but does not."""
    pause = 0.5
    while True:
        try:
            connection = await asyncio.wait_for(aiormq.connect(_named(url, "probe")), CONNECT_TIMEOUT)
        except (AuthenticationError, ProbableAuthenticationError) as error:
            raise Refused(f"RabbitMQ at {_place(url)} refuses the login: {error}") from error
        except InvalidFrameError as error:  # after the login: it closes instead of opening
            raise Refused(f"RabbitMQ at {_place(url)} has no virtual host {_vhost(url)!r} for this user.") from error
        except (AMQPError, OSError) as error:
            log.warning("waiting for RabbitMQ at %s: %s", _place(url), error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5)
        else:
            await connection.close()
            return


class Topology:
    """What the service declares. Nothing is ever deleted, and no operation's binding is ever removed."""

    def __init__(self, names: wire.Names, operations: Iterable[Operation], *, partitions: int, read_ttl: int) -> None:
        self._names = names
        self._operations = list(operations)
        self._partitions = partitions
        self._read_ttl = read_ttl

    async def declare(self, channel: Channel) -> None:
        """Declare everything. Raises Refused where the broker has it otherwise."""
        try:
            await self._declare_exchanges(channel)
            await self._declare_queues(channel)
            await self._bind(channel)
        except ConnectionCommandInvalid as error:
            raise Refused(
                "WRITE_PARTITIONS above 1 needs RabbitMQ's plugin rabbitmq_consistent_hash_exchange: enable it with "
                "rabbitmq-plugins enable rabbitmq_consistent_hash_exchange."
            ) from error
        except ChannelAccessRefused as error:
            raise Refused(f"RabbitMQ does not let this user declare what the service needs: {error}") from error
        except ChannelPreconditionFailed as error:
            raise Refused(
                f"RabbitMQ has this with other arguments: {error}. Arguments cannot be changed: empty and delete it, "
                "or start with the settings that it was declared with."
            ) from error

    async def _declare_exchanges(self, channel: Channel) -> None:
        names = self._names
        unrouted: FieldTable = {"alternate-exchange": names.unrouted}
        for name in (names.dead, names.unrouted):
            await channel.exchange_declare(name, exchange_type="fanout", durable=True)
        await channel.exchange_declare(names.events, exchange_type="topic", durable=True)
        await channel.exchange_declare(names.requests, exchange_type="topic", durable=True, arguments=unrouted)
        if self._partitions > 1:
            arguments: FieldTable = {"hash-header": wire.PARTITION_KEY, **unrouted}
            await channel.exchange_declare(
                names.writes, exchange_type="x-consistent-hash", durable=True, arguments=arguments
            )

    async def _declare_queues(self, channel: Channel) -> None:
        names = self._names
        partition: FieldTable = {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": names.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        reads: FieldTable = {"x-message-ttl": self._read_ttl * 1000, "x-dead-letter-exchange": names.unrouted}
        await channel.queue_declare(names.dead, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.queue_declare(names.unrouted, durable=True)
        await channel.queue_declare(names.reads, durable=True, arguments=reads)
        for number in range(self._partitions):
            await channel.queue_declare(names.partition(number), durable=True, arguments=partition)

    async def _bind(self, channel: Channel) -> None:
        names = self._names
        await channel.queue_bind(names.dead, names.dead)
        await channel.queue_bind(names.unrouted, names.unrouted)
        if self._partitions > 1:
            for number in range(self._partitions):
                await channel.queue_bind(names.partition(number), names.writes, "1")  # its weight
            for number in range(self._partitions, wire.MOST_PARTITIONS):
                await channel.queue_unbind(names.partition(number), names.writes, "1")  # there were more of them once
        for operation in self._operations:
            if not operation.writes:
                await channel.queue_bind(names.reads, names.requests, operation.key)
            elif self._partitions > 1:
                await channel.exchange_bind(names.writes, names.requests, operation.key)
                await channel.queue_unbind(names.partition(0), names.requests, operation.key)
            else:
                await channel.queue_bind(names.partition(0), names.requests, operation.key)
                await channel.exchange_unbind(names.writes, names.requests, operation.key)


def _named(url: str, name: str) -> str:
    """With the name that the broker lists the connection under, and a heartbeat; aiormq reads both from the query."""
    parsed = URL(url)
    return str(parsed.update_query({"heartbeat": str(HEARTBEAT), "name": name} | dict(parsed.query)))


def _vhost(url: str) -> str:
    return URL(url).path.removeprefix("/") or "/"


def _place(url: str) -> str:
    parsed = URL(url)
    return f"{parsed.host}:{parsed.port or 5672}"
