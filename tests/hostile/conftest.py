"""One service for each file: what the others have done to it is part of the trial."""

import logging
from collections.abc import AsyncIterator

import aiormq
import pytest
from aiormq.channel import Channel

from src.service import Service
from tests.hostile.bench import SECRET, Bench
from tests.support import harness
from tests.support.requester import collecting


@pytest.fixture(scope="module")
async def bench(shared: Service, rabbitmq_url: str) -> AsyncIterator[Bench]:
    connection = await aiormq.connect(rabbitmq_url)
    channel = await connection.channel(publisher_confirms=False)
    assert isinstance(channel, Channel)
    (address, replies), (queue, letters) = await collecting(channel), await collecting(channel)
    await channel.queue_bind(queue, harness.names(shared.settings).dead)
    async with harness.connected(shared.settings) as client:
        yield Bench(shared, connection, channel, client, address, replies, letters)
    await connection.close()


@pytest.fixture(autouse=True)
async def untouched(bench: Bench, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """After each test the good are served over the same connections, and the log has told nothing."""
    assert bench.service.failure is None
    caplog.set_level(logging.INFO)
    before = await bench.connections()
    yield
    await bench.fence()
    assert bench.service.failure is None
    assert await bench.connections() == before
    for record in (*caplog.get_records("call"), *caplog.records):
        assert "\n" not in record.getMessage()
        assert SECRET not in record.getMessage()
        assert "consuming" not in record.getMessage()
        assert record.exc_info is None
