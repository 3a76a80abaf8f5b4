"""Startup: wait for the servers, check the schema, serve until told to end."""

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from src.amqp import connections
from src.amqp.connections import StartupError
from src.backoff import Backoff
from src.database import Database
from src.dialects.driver_errors import describe
from src.schema import FOREIGN, Revision
from src.service import Service
from src.telemetry import metrics

if TYPE_CHECKING:
    import config

log = logging.getLogger("db")


async def serve(settings: "config.Settings") -> bool:
    """Serve until told to end. Return False where the service ended by itself. Raises StartupError."""
    service = Service(settings)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it is only asked for the revision of the schema
    with service.database.exclusive():
        async with serving_http(service):
            with metrics.BROKER.waiting(service):
                await connections.wait_until_up(settings.rabbitmq_url.get_secret_value())
            with metrics.DATABASE.waiting(service.database):
                await _check_schema(service.database)
            _tune_collector()
            await service.app.run()
    return service.failure is None


@asynccontextmanager
async def serving_http(service: Service) -> AsyncIterator[None]:
    """Serve the health checks and metrics over HTTP, also while the service waits for its servers or stops."""
    settings = service.settings
    if not settings.http_port:
        yield
        return
    from src.admin import exposition, health, http  # noqa: PLC0415 - imports uvicorn, which costs memory

    state = health.Health(service.database, service.outbound.open_channel, service.broker.batch_subscribers)
    app = http.application(state, exposition.Metrics(service.database, service.operations.values()))
    async with http.serving(app, settings.http_host, settings.http_port, service.fail):
        yield


def _tune_collector() -> None:
    """Exempt the imported modules from garbage collection, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _check_schema(database: Database) -> None:
    """Wait for the database. Raises StartupError where its schema is not one for this version."""
    match await _revision(database):
        case Revision.BEHIND:
            raise StartupError("The database's schema is behind this version; migrate it: ./db migrate")
        case Revision.AHEAD:
            log.warning("the database's schema is ahead of this version")
        case Revision.FOREIGN:
            raise StartupError(f"{database.place}: {FOREIGN}; correct DATABASE_URL")
        case Revision.CURRENT:
            pass


async def _revision(database: Database) -> Revision:
    backoff = Backoff(first=0.5)
    while True:
        try:
            return await database.revision()
        except (DBAPIError, OSError) as error:
            if isinstance(error, DBAPIError) and database.dialect.refuses_login(error):
                raise StartupError(f"{database.place} refuses us: {describe(error)}") from error
            if isinstance(error, SSLCertVerificationError):
                raise StartupError(f"{database.place} is not trusted: {describe(error)}") from error
            log.warning("waiting for %s: %s", database.place, describe(error))
            await backoff.pause()
