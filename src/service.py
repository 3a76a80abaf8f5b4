"""Composition root: joins everything, starts and stops it."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING

from faststream import FastStream
from sqlalchemy.exc import DBAPIError

import broker
import config
from src import backoff, models, wire
from src.admin import doctor
from src.admin.findings import Finding
from src.amqp import connections
from src.amqp.batch_subscriber import Batch, BatchLimits, ConsumerPaused
from src.amqp.connections import StartupError, TolerantConnection
from src.amqp.publisher import Publisher
from src.amqp.topology_recovery import TopologyRecovery
from src.consumers.decoder import Decoder
from src.consumers.subscribers import Subscribers
from src.consumers.topology import Topology
from src.database import Database, describe
from src.entity import Entity, Operation
from src.errors import Unavailable
from src.processing import retention
from src.processing.read_batch import BatchReader
from src.processing.row_size import RowSizeLimit
from src.processing.unit_of_work import UnitOfWork
from src.revision import Revision
from src.telemetry import metrics

if TYPE_CHECKING:
    from pydantic import SecretStr

    from src.consumers.rate_limit import RateLimit
    from src.redis_client import RedisClient

log = logging.getLogger("db")

LOOK = 60  # seconds between two looks at the database's clock


class Service:
    """Everything joined. ``app`` starts and stops it; ``failure`` is why it ended by itself."""

    def __init__(self, settings: config.Settings, entities: Iterable[Entity] | None = None) -> None:
        self.settings = settings
        self.failure: BaseException | None = None
        names, url = wire.Names(settings.service_name), settings.rabbitmq_url.get_secret_value()
        entities = tuple(entities or models.entities())
        self.operations = {operation.key: operation for entity in entities for operation in entity.operations()}
        self.database = Database.from_settings(settings)
        self.broker = broker.Broker(url, settings.service_name, settings.graceful_timeout, self.fail)
        self.outbound = connections.Outbound(url, f"{settings.service_name} out")
        self.replying = connections.Outbound(  # a forged address may end it
            url, f"{settings.service_name} replies", connections.AT_ONCE
        )
        self._upkeep = TopologyRecovery(
            _topology(settings, names, self.operations.values()).declare, self.broker.open_channel
        )
        self.publisher = Publisher(self.outbound, self._upkeep.restore)
        self.replier = Publisher(self.replying, self._upkeep.restore)
        self._limit = _limit(settings)
        self.subscribers = self._join(names, RowSizeLimit(entities, settings.max_answer))
        self._chores: list[asyncio.Task[None]] = []
        self._subscribe(names)
        self.app = FastStream(
            self.broker,
            logger=None,
            on_startup=[self._connect],
            after_startup=[self._start],
            on_shutdown=[self._stop],
            after_shutdown=[self._close],
        )

    def _join(self, names: wire.Names, sizes: RowSizeLimit) -> Subscribers:
        settings = self.settings
        return Subscribers(
            Decoder(self.operations, settings.max_body, require_message_id=settings.require_message_id),
            UnitOfWork(self.database, sizes),
            BatchReader(self.database, settings.max_answer, concurrency=settings.database_pool_size),
            self.publisher,
            self.replier,
            self.database,
            names,
            read_ttl=settings.read_ttl,
            admit=self._limit.admit if self._limit else None,
        )

    def _subscribe(self, names: wire.Names) -> None:
        subscribers = self.subscribers
        reads = BatchLimits(  # what waits here cannot expire
            prefetch=self.settings.batch_size,
            requests=self.settings.batch_size,
            body_bytes=self.settings.max_body,
            window_bytes=self.settings.prefetch_size,
        )
        given_up = replace(reads, counts=True)  # by a quorum queue
        writes = replace(given_up, prefetch=self.settings.prefetch)
        partitions = names.partitions(self.settings.write_partitions)

        @self.broker.batches(*partitions, limits=writes, prepare=self._prepare)
        async def write(batch: Batch) -> None:
            await subscribers.carefully(batch, subscribers.write)

        # In an outage reads are answered too: they need no database to begin.
        @self.broker.batches(names.reads, limits=reads, prepare=self._upkeep.declare)
        async def read(batch: Batch) -> None:
            await subscribers.carefully(batch, subscribers.read, subscribers.late)

        @self.broker.batches(names.expired, limits=given_up, prepare=self._prepare)
        async def expired(batch: Batch) -> None:
            await subscribers.carefully(batch, subscribers.expired)

        # Nor does what is unrouted, but for suspects.
        @self.broker.batches(names.unrouted, limits=reads, prepare=self._upkeep.declare)
        async def unrouted(batch: Batch) -> None:
            await subscribers.carefully(batch, subscribers.unrouted)

    async def _connect(self) -> None:
        _count_outages(await self.broker.connect())
        _count_outages(await self.outbound.connect())
        await self.replying.connect()  # which a requester may end: that is no outage
        if self._limit:
            await self._limit.open()

    async def _start(self) -> None:
        purging = retention.purge(self.database, self.settings.inbox_retention)
        chores = (purging, self._keep_time(), self._upkeep.watch())
        self._chores = [asyncio.create_task(chore) for chore in chores]
        broker = connections.place(self.settings.rabbitmq_url.get_secret_value())
        name, database = self.settings.service_name, self.database.place
        log.info("serving %s from RabbitMQ at %s and %s", name, broker, database)

    async def _keep_time(self) -> None:
        """Look at the database's clock, as each probe does, again and again."""
        while True:
            with contextlib.suppress(Unavailable):
                await self.database.probe()
            await asyncio.sleep(LOOK)

    async def _stop(self) -> None:
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)

    async def _close(self) -> None:
        await self.outbound.close()
        await self.replying.close()
        await self.database.dispose()
        if self._limit:
            await self._limit.close()
        metrics.BROKER.over()
        log.info("stopped")
        if self.subscribers.unkeyed:
            log.info("%d writes had no message_id and were served at least once", self.subscribers.unkeyed)

    async def _prepare(self) -> None:
        """Nothing is taken before the database answers and everything is declared."""
        try:
            await self.database.probe()
        except Unavailable as error:
            raise ConsumerPaused(str(error)) from error
        await self._upkeep.declare()

    def fail(self, error: BaseException) -> None:
        """End the process, for something in it has ended by itself."""
        if self.failure:
            return
        self.failure = error
        log.critical("ending: %s", error, exc_info=None if isinstance(error, StartupError) else error)
        self.app.exit()


def _count_outages(connection: TolerantConnection) -> None:
    def begin(*_: object) -> None:
        if not connection.close_called:
            metrics.BROKER.begin(connection)

    connection.close_callbacks.add(begin)
    connection.reconnect_callbacks.add(lambda *_: metrics.BROKER.end(connection))


def _limit(settings: config.Settings) -> "RateLimit | None":
    if settings.rate is None or settings.redis_url is None:
        return None
    from src.consumers.rate_limit import RateLimit  # noqa: PLC0415 - what nobody asks for is not imported

    return RateLimit(_cache(settings, settings.redis_url), *settings.rate)


def _cache(settings: config.Settings, url: "SecretStr") -> "RedisClient":
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


async def serve(settings: config.Settings) -> bool:
    """Serve until told to end; whether that was why. Raises Refused where it cannot begin."""
    service = Service(settings)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # only asked which revision this is
    with service.database.alone():
        async with answering_http(service):
            with metrics.BROKER.waiting(service):
                await connections.wait_until_up(settings.rabbitmq_url.get_secret_value())
            with metrics.DATABASE.waiting(service.database):
                await _check_schema(service.database)
            _tame_collector()
            await service.app.run()
    return service.failure is None


async def examine(settings: config.Settings) -> list[Finding]:
    """What is to be said of everything that a service with these settings stands on."""
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
    )
    try:
        return [*await doctor.examine(subject), *await _examine_redis(settings)]
    finally:
        await database.dispose()


async def _examine_redis(settings: config.Settings) -> list[Finding]:
    if settings.redis_url is None:
        return []
    from src.admin import redis_checks  # noqa: PLC0415 - what nobody asks for is not imported

    cache = _cache(settings, settings.redis_url)
    return [await redis_checks.look(cache, limits=settings.rate is not None)]


@asynccontextmanager
async def answering_http(service: Service) -> AsyncIterator[None]:
    """From before the start to after the end, so that what waits for a server is known to live."""
    settings = service.settings
    if not settings.http_port:
        yield
        return
    from src.admin import exposition, health, http  # noqa: PLC0415 - what nobody asks for is not imported

    state = health.Health(service.database, service.outbound.open_channel, service.broker.batch_subscribers)
    app = http.application(state, exposition.Metrics(service.database, service.operations.values()))
    async with http.answering(app, settings.http_host, settings.http_port, service.fail):
        yield


def _tame_collector() -> None:
    """What was imported stays: the garbage collector need not look at it again and again while batches come and go."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _check_schema(database: Database) -> None:
    """Wait for the database; refuse a schema that this code does not fit."""
    match await _revision(database):
        case Revision.BEHIND:
            raise StartupError("The database's schema is behind this version; migrate it: ./db migrate")
        case Revision.AHEAD:
            log.warning("the database's schema is ahead of this version")
        case Revision.CURRENT:
            pass


async def _revision(database: Database) -> Revision:
    pausing = backoff.growing(first=0.5)
    while True:
        try:
            return await database.revision()
        except (DBAPIError, OSError) as error:
            if isinstance(error, DBAPIError) and database.dialect.refuses_login(error):
                raise StartupError(f"{database.place} refuses us: {describe(error)}") from error
            if isinstance(error, SSLCertVerificationError):
                raise StartupError(f"{database.place} is not trusted: {describe(error)}") from error
            log.warning("waiting for %s: %s", database.place, describe(error))
            await asyncio.sleep(next(pausing))
