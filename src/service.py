"""Composition root: constructs and connects every part of the service."""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from faststream import FastStream

import broker
import config
from src import models, wire
from src.admin import doctor
from src.admin.findings import Finding
from src.amqp import connections
from src.amqp.batch import BatchLimits
from src.amqp.batch_subscriber import ConsumerPaused
from src.amqp.connections import StartupError, TolerantConnection
from src.amqp.publisher import Publisher
from src.amqp.topology_recovery import TopologyRecovery
from src.consumers.decoder import Decoder
from src.consumers.settlement import Settlement
from src.consumers.subscribers import Subscribers
from src.consumers.topology import Topology
from src.database import Database
from src.entity import Entity, Operation
from src.errors import Unavailable
from src.processing import retention
from src.processing.read_batch import BatchReader
from src.processing.row_size import RowSizeLimit
from src.processing.unit_of_work import UnitOfWork
from src.telemetry import metrics

if TYPE_CHECKING:
    from pydantic import SecretStr

    from src.consumers.rate_limit import RateLimit
    from src.redis_client import RedisClient

log = logging.getLogger("db")

CLOCK_INTERVAL = 60  # seconds: between two readings of the database's clock, which drifts by milliseconds meanwhile


class Service:
    """The parts of the service. ``app`` starts and stops them; ``failure`` is the error that ended the service."""

    def __init__(self, settings: config.Settings, entities: Iterable[Entity] | None = None) -> None:
        self.settings = settings
        self.failure: BaseException | None = None
        names, url = wire.Names(settings.service_name), settings.rabbitmq_url.get_secret_value()
        entities = tuple(entities or models.entities())
        self.operations = {operation.key: operation for entity in entities for operation in entity.operations()}
        self.database = Database.from_settings(settings)
        self.broker = broker.Broker(url, settings.service_name, settings.graceful_timeout, self.fail)
        self.outbound = connections.Outbound(url, f"{settings.service_name} out")
        self.replying = connections.Outbound(  # of its own: RabbitMQ closes it for some forged reply addresses
            url, f"{settings.service_name} replies", connections.REPLY_RECONNECT_INTERVAL
        )
        topology = _topology(settings, names, self.operations.values())
        self.topology_recovery = TopologyRecovery(topology.declare, self.broker.open_channel)
        self.publisher = Publisher(self.outbound, self.topology_recovery.restore)
        self.replier = Publisher(self.replying, self.topology_recovery.restore)
        self.rate_limit = _rate_limit(settings)
        self.subscribers = Subscribers(
            Decoder(self.operations, settings.max_body, require_message_id=settings.require_message_id),
            UnitOfWork(self.database, RowSizeLimit(entities, settings.max_answer)),
            BatchReader(self.database, settings.max_answer, concurrency=settings.database_pool_size),
            Settlement(self.publisher, self.replier, names),
            self.database,
            read_ttl=settings.read_ttl,
            rate_limit=self.rate_limit,
        )
        self._background_tasks: list[asyncio.Task[None]] = []
        self._subscribe(names)
        self.app = FastStream(
            self.broker,
            logger=None,
            on_startup=[self._connect],
            after_startup=[self._start],
            on_shutdown=[self._stop],
            after_shutdown=[self._close],
        )

    def _subscribe(self, names: wire.Names) -> None:
        classic = BatchLimits(
            prefetch=self.settings.batch_size,  # reads that wait in a window cannot expire
            requests=self.settings.batch_size,
            body_bytes=self.settings.max_body,
            window_bytes=self.settings.prefetch_size,
        )
        quorum = replace(classic, has_delivery_count=True)
        writes = replace(quorum, prefetch=self.settings.prefetch)
        partitions = names.partitions(self.settings.write_partitions)
        subscribers, batches = self.subscribers, self.broker.batches
        declare = self.topology_recovery.declare  # without the database: reads are answered during its outage too
        batches(*partitions, limits=writes, prepare=self._prepare)(subscribers.write)
        batches(names.reads, limits=classic, prepare=declare)(subscribers.read)
        batches(names.expired, limits=quorum, prepare=self._prepare)(subscribers.expired)
        batches(names.unrouted, limits=classic, prepare=declare)(subscribers.unrouted)

    async def _connect(self) -> None:
        url = self.settings.rabbitmq_url.get_secret_value()
        _count_outages(await connections.retry_refused(url, self.broker.connect))
        _count_outages(await connections.retry_refused(url, self.outbound.connect))
        # The outages of this connection are not counted: a requester may cause them.
        await connections.retry_refused(url, self.replying.connect)
        if self.rate_limit:
            await self.rate_limit.open()

    async def _start(self) -> None:
        purging = retention.purge(self.database, self.settings.inbox_retention)
        background = (purging, self._watch_clock(), self.topology_recovery.watch())
        self._background_tasks = [asyncio.create_task(coroutine) for coroutine in background]
        rabbitmq = connections.address(self.settings.rabbitmq_url.get_secret_value())
        name, database = self.settings.service_name, self.database.place
        log.info("serving %s from RabbitMQ at %s and %s", name, rabbitmq, database)

    async def _watch_clock(self) -> None:
        """Set this process's clock by the database's again and again: each probe does that."""
        while True:
            with contextlib.suppress(Unavailable):
                await self.database.probe()
            await asyncio.sleep(CLOCK_INTERVAL)

    async def _stop(self) -> None:
        for task in self._background_tasks:
            task.cancel()
        await asyncio.gather(*self._background_tasks, return_exceptions=True)

    async def _close(self) -> None:
        await self.outbound.close()
        await self.replying.close()
        await self.database.dispose()
        if self.rate_limit:
            await self.rate_limit.close()
        metrics.BROKER.end_all()
        log.info("stopped")
        if self.subscribers.without_key:
            log.info("%d writes had no message_id and were served at least once", self.subscribers.without_key)

    async def _prepare(self) -> None:
        """Raise ConsumerPaused unless the database answers; declare the topology."""
        try:
            await self.database.probe()
        except Unavailable as error:
            raise ConsumerPaused(str(error)) from error
        await self.topology_recovery.declare()

    def fail(self, error: BaseException) -> None:
        """End the process: a part of it has ended by itself."""
        if self.failure:
            return
        self.failure = error
        log.critical("ending: %s", error, exc_info=None if isinstance(error, StartupError) else error)
        self.app.exit()


async def examine(settings: config.Settings) -> list[Finding]:
    """Return the findings about every server that a service with these settings needs."""
    names, database = wire.Names(settings.service_name), Database.from_settings(settings)
    operations = [operation for entity in models.entities() for operation in entity.operations()]
    subject = doctor.Subject(
        rabbitmq_url=settings.rabbitmq_url.get_secret_value(),
        dsn=settings.dsn,
        database=database,
        topology=_topology(settings, names, operations),
        names=names,
        partitions=settings.write_partitions,
        max_answer=settings.max_answer,
        redis=_redis(settings, settings.redis_url) if settings.redis_url else None,
        limits=settings.rate is not None,
    )
    try:
        return await doctor.examine(subject)
    finally:
        await database.dispose()


def _count_outages(connection: TolerantConnection) -> None:
    def begin(*_: object) -> None:
        if not connection.close_called:
            metrics.BROKER.begin(connection)

    connection.close_callbacks.add(begin)
    connection.reconnect_callbacks.add(lambda *_: metrics.BROKER.end(connection))


def _rate_limit(settings: config.Settings) -> "RateLimit | None":
    if settings.rate is None or settings.redis_url is None:
        return None
    from src.consumers.rate_limit import RateLimit  # noqa: PLC0415 - imports redis, which costs memory

    return RateLimit(_redis(settings, settings.redis_url), *settings.rate)


def _redis(settings: config.Settings, url: "SecretStr") -> "RedisClient":
    from src.redis_client import RedisClient  # noqa: PLC0415 - as above

    return RedisClient(url.get_secret_value(), settings.service_name, settings.redis_timeout)


def _topology(settings: config.Settings, names: wire.Names, operations: Collection[Operation]) -> Topology:
    return Topology(
        names,
        writes=[operation.key for operation in operations if operation.writes],
        reads=[operation.key for operation in operations if not operation.writes],
        partitions=settings.write_partitions,
        read_ttl=settings.read_ttl,
    )
