"""The service with the entities of these tests besides its own, and who asks it and listens."""

from collections.abc import AsyncIterator

import pytest

import config
from src.database import Database
from src.service import Service
from tests.guarantees.entities import ENTITIES, OfTests
from tests.guarantees.writes import SESSION
from tests.support import harness, requester
from tests.support.requester import Collected, Requester


@pytest.fixture(scope="module")
async def shared(postgres_url: str, template: str, rabbitmq_url: str) -> AsyncIterator[Service]:
    async with harness.isolated(postgres_url, template, rabbitmq_url) as settings:
        database = Database(settings.dsn)
        async with database.connect() as connection:
            await connection.run_sync(OfTests.metadata.create_all)
            await connection.commit()
        await database.dispose()
        async with harness.running(settings, ENTITIES) as started:
            yield started


@pytest.fixture
async def db(service: Service, settings: config.Settings) -> AsyncIterator[Requester]:
    """A requester of the running service, in whose database there is a session."""
    async with requester.asking(settings) as asking:
        await asking.ask("session.create", {"id": SESSION})
        yield asking


@pytest.fixture
async def events(db: Requester, settings: config.Settings) -> AsyncIterator[Collected]:
    async with requester.listening(settings, harness.names(settings).events) as collected:
        yield collected


@pytest.fixture
async def dead_letters(db: Requester, settings: config.Settings) -> AsyncIterator[Collected]:
    async with requester.listening(settings, harness.names(settings).dead) as collected:
        yield collected
