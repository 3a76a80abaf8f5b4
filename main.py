"""Entry point and composition root."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated

import typer
import uvloop
from alembic import command
from alembic.util import CommandError
from faststream import FastStream
from sqlalchemy.exc import DBAPIError

import broker
import config
from src import logs, models, retention, revision, wire
from src.batches import BatchSubscriber, Handler, Limits, Pause
from src.cli import Target, app
from src.database import Database, describe, sqlstate
from src.entity import Entity
from src.envelope import Decoder
from src.errors import Unavailable
from src.publisher import Publisher
from src.reader import Reader
from src.subscribers import Subscribers
from src.unit_of_work import UnitOfWork

log = logging.getLogger("db")

NO_LOGIN = ("28", "3D000")  # SQLSTATE: the login is refused, there is no such database


class Service:
    """Everything joined. ``app`` starts and stops it; ``failure`` is why it ended by itself."""

    def __init__(self, settings: config.Settings, entities: Iterable[Entity] | None = None) -> None:
        self.settings = settings
        self.failure: BaseException | None = None
        names, url = wire.Names(settings.service_name), settings.rabbitmq_url.get_secret_value()
        operations = {
            operation.key: operation for entity in entities or models.entities() for operation in entity.operations()
        }
        self.database = Database(
            settings.database,
            settings.application_name,
            echo=settings.sql_echo,
            pool_size=settings.database_pool_size,
            max_overflow=settings.database_max_overflow,
            pool_timeout=settings.database_pool_timeout,
            pool_recycle=settings.database_pool_recycle,
        )
        self._inbound = broker.Broker(url, settings.service_name, settings.graceful_timeout)
        self._outbound = broker.Outbound(url, settings.service_name)
        self._topology = broker.Topology(
            names, operations.values(), partitions=settings.write_partitions, read_ttl=settings.read_ttl
        )
        self.subscribers = Subscribers(
            Decoder(operations, settings.max_body, require_message_id=settings.require_message_id),
            UnitOfWork(self.database, settings.max_answer),
            Reader(self.database, settings.max_answer, concurrency=settings.database_pool_size),
            Publisher(self._outbound.ready, self._outbound.open_channel),
            self.database,
            names,
            settings.publish_patience,
        )
        self._batches: list[BatchSubscriber] = []
        self._purging: asyncio.Task[None] | None = None
        self._subscribe(names)
        self.app = FastStream(
            self._inbound,
            logger=None,
            on_startup=[self._start],
            on_shutdown=[self._purge_no_more],
            after_shutdown=[self._close],
        )

    async def consuming(self) -> None:
        """Wait until every queue is consumed."""
        for subscriber in self._batches:
            await subscriber.consuming.wait()

    def _subscribe(self, names: wire.Names) -> None:
        settings = self.settings
        writes = Limits(prefetch=settings.prefetch, requests=settings.batch_size)
        reads = Limits(prefetch=settings.batch_size, requests=settings.batch_size)  # what waits here cannot expire
        for number in range(settings.write_partitions):
            self._consume(names.partition(number), self.subscribers.write, writes, self._prepare)
        self._consume(names.reads, self.subscribers.read, reads, self._prepare)
        self._consume(names.unrouted, self.subscribers.unrouted, reads, self._declare)  # needs no database

    def _consume(self, queue: str, handler: Handler, limits: Limits, prepare: Callable[[], Awaitable[None]]) -> None:
        subscriber = self._inbound.batches(queue, limits=limits, prepare=prepare, on_failure=self._fail)
        subscriber(handler)
        self._batches.append(subscriber)

    async def _start(self) -> None:
        await self._outbound.connect()
        self._purging = asyncio.create_task(retention.purge_inbox(self.database, self.settings.inbox_retention))

    async def _purge_no_more(self) -> None:
        if self._purging:
            self._purging.cancel()
            await asyncio.gather(self._purging, return_exceptions=True)

    async def _close(self) -> None:
        await self._outbound.close()
        await self.database.close()
        if self.subscribers.unkeyed:
            log.info("%d writes had no message_id and were served at least once", self.subscribers.unkeyed)

    async def _prepare(self) -> None:
        """Nothing is taken before the database answers and everything is declared."""
        try:
            await self.database.probe()
        except Unavailable as error:
            raise Pause(str(error)) from error
        await self._declare()

    async def _declare(self) -> None:
        channel = await self._inbound.open_channel()
        try:
            await self._topology.declare(channel)
        finally:
            await channel.close()

    def _fail(self, error: BaseException) -> None:
        if self.failure:
            return
        self.failure = error
        log.critical("ending: %s", error, exc_info=None if isinstance(error, broker.Refused) else error)
        self.app.exit()


def create(settings: config.Settings, entities: Iterable[Entity] | None = None) -> Service:
    """The service with these settings, and the entities of ``src/models/`` unless others are given."""
    return Service(settings, entities)


async def _serve(settings: config.Settings) -> bool:
    """Whether the service ended because it was asked to."""
    service = create(settings)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # only asked which revision this is
    await broker.wait_until_up(settings.rabbitmq_url.get_secret_value())
    await _check_schema(service.database)
    await service.app.run()
    return service.failure is None


async def _check_schema(database: Database) -> None:
    """Wait for the database; refuse a schema that this code does not fit."""
    match await _revision(database):
        case revision.Revision.BEHIND:
            raise broker.Refused("The database's schema is behind this version; migrate it: main.py migrate")
        case revision.Revision.AHEAD:
            log.warning("the database's schema is ahead of this version")
        case revision.Revision.CURRENT:
            pass


async def _revision(database: Database) -> revision.Revision:
    pause = 0.5
    while True:
        try:
            return await revision.compare(database)
        except (DBAPIError, OSError) as error:
            if isinstance(error, DBAPIError) and sqlstate(error).startswith(NO_LOGIN):
                raise broker.Refused(f"PostgreSQL at {database.url.host} refuses us: {describe(error)}") from error
            log.warning("waiting for PostgreSQL at %s:%s: %s", database.url.host, database.url.port, describe(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5)


def _settings() -> config.Settings:
    """The settings, or a line for each that is wrong and exit code 2."""
    try:
        return config.load()
    except config.WrongSettings as error:
        typer.echo(f"Wrong settings:\n{error}", err=True)
        raise typer.Exit(2) from None


def _target() -> Target:
    settings = _settings()
    query = {"sslmode" if name == "ssl" else name: value for name, value in settings.database.query.items()}
    url = settings.database.set(drivername="postgresql", query=query)
    return Target(
        settings.rabbitmq_url.get_secret_value(), url.render_as_string(hide_password=False), settings.service_name
    )


@app.callback()
def main(context: typer.Context) -> None:
    """DB owns the data of a conversational platform and is spoken to through RabbitMQ."""
    context.obj = _target


@app.command()
def serve() -> None:
    """Serve requests until SIGTERM or Ctrl-C. Needs a migrated database; see `migrate`."""
    settings = _settings()
    logs.configure(settings.log_level, settings.log_format)
    try:
        if not uvloop.run(_serve(settings)):
            raise typer.Exit(1)
    except broker.Refused as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


@app.command()
def migrate(revision_: Annotated[str, typer.Argument(metavar="REVISION")] = "head") -> None:
    """Bring the database's schema to this version, or to the revision given. Two at once do not race."""
    settings = _settings()
    logs.configure(settings.log_level, settings.log_format)
    try:
        command.upgrade(revision.config(), revision_)
    except CommandError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    except (DBAPIError, OSError) as error:
        typer.echo(f"PostgreSQL at {settings.database.host}:{settings.database.port}: {describe(error)}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
