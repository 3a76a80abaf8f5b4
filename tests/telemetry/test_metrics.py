"""What the service counts, and what looking at it costs."""

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

import config
from src.admin import exposition
from src.admin.exposition import Metrics
from src.amqp import window as window_module
from src.amqp.batch import BatchLimits
from src.amqp.frames import Delivery, Properties
from src.amqp.window import Window
from src.client import Client
from src.clock import now
from src.database import Database
from src.processing import inbox
from src.service import Service
from src.telemetry import metrics
from tests.support import harness, requester
from tests.support.requester import Requester
from tests.support.scraped import value

NOBODY = str(uuid.UUID(int=1))
STAGES = {"writes": ["queued", "decoded", "transaction", "publish"], "reads": ["queued", "decoded", "transaction"]}


@pytest.fixture
async def db(service: Service, settings: config.Settings) -> AsyncIterator[Requester]:
    async with requester.asking(settings) as asking:
        yield asking


@contextlib.asynccontextmanager
async def counted(name: str, by: float = 1, **labels: str) -> AsyncIterator[None]:
    """What happens in here counts so much under this name, soon after the answer."""
    before = value(name, **labels)
    yield
    with contextlib.suppress(TimeoutError):
        await harness.eventually(lambda: asyncio.sleep(0, value(name, **labels) - before >= by), name, deadline=5)
    assert value(name, **labels) - before == by


@pytest.mark.parametrize(
    ("operation", "body", "outcome"),
    [
        ("session.create", {}, "served"),
        ("session.count", {}, "served"),
        ("session.get", {"id": NOBODY}, "not-found"),
        ("session.close", {"id": NOBODY}, "not-found"),
        ("session.create", {"status": 1}, "invalid"),
        ("session.list", b"{", "malformed"),
    ],
)
async def test_a_request_is_counted_by_its_operation_and_what_became_of_it(
    db: Requester, operation: str, body: Any, outcome: str
) -> None:
    async with counted("db_requests_total", operation=operation, outcome=outcome):
        await db.ask(operation, body, str(uuid.uuid4()))


async def test_no_stranger_chooses_a_label(db: Requester) -> None:
    async with counted("db_requests_total", by=20, operation="unknown", outcome="unknown-operation"):
        for index in range(20):
            await db.ask(f"stranger{index}.create")
    named = {sample.labels.get("operation") for family in metrics.REGISTRY.collect() for sample in family.samples}
    assert not [name for name in named if name and name.startswith("stranger")]


@pytest.mark.parametrize(("operation", "subscriber"), [("session.create", "writes"), ("session.count", "reads")])
async def test_of_each_batch_it_is_counted_how_large_it_was_and_how_long_each_stage_took(
    db: Requester, operation: str, subscriber: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(counted("db_batch_requests_sum", subscriber=subscriber))
        for stage in STAGES[subscriber]:
            await stack.enter_async_context(counted("db_stage_seconds_count", subscriber=subscriber, stage=stage))
        await db.ask(operation)


async def test_a_batch_is_queued_from_the_arrival_of_its_oldest_request() -> None:
    window = Window(BatchLimits(prefetch=10, requests=2, body_bytes=100, window_bytes=1000), asyncio.Event())
    with mock.patch.object(window_module, "monotonic", side_effect=[1.0, 2.0, 3.0]):
        for tag in (1, 2, 3):
            window._add(Delivery(tag, "session.create", Properties(), b"{}", 2))
    window.channel = mock.Mock()
    taken = [await window.take(), await window.take()]
    assert [batch and batch.since for batch in taken] == [1.0, 3.0]


async def test_what_came_before_is_counted_as_a_duplicate(db: Requester) -> None:
    message_id = str(uuid.uuid4())
    await db.ask("session.create", {}, message_id)
    async with counted("db_duplicates_total", by=3):
        for _ in range(3):
            await db.ask("session.create", {}, message_id)
    async with counted("db_duplicates_total", by=0):
        await db.ask("session.create", {}, str(uuid.uuid4()))
        await db.ask("session.create", {})


async def test_a_copy_in_the_same_batch_is_counted_as_a_duplicate(own_settings: config.Settings) -> None:
    async with harness.running(own_settings):
        pass  # declares
    async with requester.asking(own_settings) as db:
        message_id = str(uuid.uuid4())
        copies = [await db.publish("session.create", {}, message_id) for _ in range(5)]
        async with counted("db_duplicates_total", by=4), harness.running(own_settings):
            await requester.finished(copies)


async def test_a_batch_that_cannot_be_written_together_is_counted(db: Requester) -> None:
    await db.ask("user.create", {"username": "ada"}, "ada")
    async with counted("db_bisected_batches_total"), counted("db_second_ways_total"):
        with mock.patch("src.crud.create", side_effect=RuntimeError):
            assert (await db.ask("session.create", {}, str(uuid.uuid4()))).type == "urn:db:problem:internal"


async def test_a_dead_letter_is_counted_by_its_reason(service: Service, settings: config.Settings) -> None:
    async with (
        requester.asking(settings) as db,
        requester.listening(settings, harness.names(settings).dead) as letters,
        counted("db_dead_letters_total", reason="not-found"),
    ):
        await db.publish("session.close", {"id": NOBODY}, str(uuid.uuid4()), reply_to=None)
        await letters.one()


async def test_the_first_dead_letter_is_an_increase(service: Service) -> None:
    Metrics(service.database, service.operations.values())
    for reason in ("internal", "unanswered", "not-found"):
        assert metrics.REGISTRY.get_sample_value("db_dead_letters_total", {"reason": reason}) is not None


async def test_the_pool_tells_how_many_use_it_and_how_many_wait(database_url: str) -> None:
    database = Database(database_url, pool_size=1, max_overflow=0)
    scraped = Metrics(database, [])

    async def read() -> None:
        async with database.reading() as session:
            await session.execute(sa.text("SELECT 1"))

    async with database.session() as session:
        await session.execute(sa.text("SELECT 1"))
        waiting = [asyncio.create_task(read()) for _ in range(3)]
        await asyncio.sleep(0)
        await scraped.exposition()
        assert value("db_pool_connections_in_use") == value("db_pool_connections_limit") == 1
        assert value("db_pool_waiting") == 3
    await asyncio.gather(*waiting)
    await scraped.exposition()
    assert value("db_pool_connections_in_use") == value("db_pool_waiting") == 0
    await database.dispose()


async def test_the_inbox_tells_how_much_it_remembers_and_since_when(
    service: Service, client: Client, database_url: str
) -> None:
    for _ in range(3):
        await client.call("session.create", {})
    await harness.execute(database_url, "ANALYZE inbox")
    async with service.database.session() as session:
        await session.execute(sa.update(inbox.table).values(received_at=now() - timedelta(hours=1)))
    await Metrics(service.database, []).exposition()
    assert value("db_inbox_rows") == 3
    assert 3600 <= value("db_inbox_oldest_seconds") < 3700


async def test_an_empty_inbox_has_no_age(service: Service) -> None:
    await Metrics(service.database, []).exposition()
    assert value("db_inbox_oldest_seconds") == 0


@contextlib.asynccontextmanager
async def dumb() -> AsyncIterator[str]:
    """The URL of a database that accepts and never answers."""
    asked = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked.wait()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"postgresql://ada@127.0.0.1:{server.sockets[0].getsockname()[1]}/db"
        asked.set()


@pytest.mark.parametrize("keep", [0, exposition.MAX_AGE])
async def test_a_scrape_waits_for_a_database_that_never_answers_once_and_not_for_long(keep: float) -> None:
    with mock.patch.multiple(exposition, TIMEOUT=0.2, MAX_AGE=keep):
        async with dumb() as url:
            database = Database(url)
            scraped = Metrics(database, [])
            begun = time.monotonic()
            said = [await scraped.exposition() for _ in range(20)]
            taken = time.monotonic() - begun
    assert all(b"db_inbox_rows NaN" in each and b"db_requests_total" in each for each in said)
    assert taken < 20 * 0.2
    await database.dispose()


async def test_every_metric_is_in_prometheus_format_with_a_help_text_of_its_own(service: Service) -> None:
    text = (await Metrics(service.database, service.operations.values()).exposition()).decode()
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith("db_")]
    assert len(families) >= 15
    assert all(family.documentation.endswith(".") for family in families)
    assert len({family.documentation for family in families}) == len(families)


async def test_the_page_lists_each_metric_with_its_labels_and_its_help_text() -> None:
    page = (harness.ROOT / "docs/operations.md").read_text()
    listed = re.findall(r"^\| `(db_\w+)` \| (.+?) \| (.+) \|$", page, re.MULTILINE)
    assert sorted(listed) == sorted(_row(family) for family in metrics.REGISTRY.collect() if _ours(family))


def _ours(family: Any) -> bool:
    return bool(family.name.startswith("db_"))


def _row(family: Any) -> tuple[str, str, str]:
    """As the page has it."""
    name = {"counter": f"{family.name}_total", "info": f"{family.name}_info"}.get(family.type, family.name)
    collector: Any = metrics.REGISTRY._names_to_collectors[family.name]
    labels = ["version"] if family.type == "info" else collector._labelnames
    return name, ", ".join(f"`{label}`" for label in labels) or "–", family.documentation


async def test_a_request_that_is_served_alone_is_counted(own_settings: config.Settings) -> None:
    names = harness.names(own_settings)
    async with harness.running(own_settings):
        pass  # declares
    async with (
        requester.asking(own_settings) as db,
        harness.channel(own_settings.rabbitmq_url.get_secret_value()) as raw,
    ):
        answer = await db.publish("session.count")
        delivered = await (await raw.get_queue(names.reads)).get()
        await delivered.reject(requeue=True)
        async with (
            counted("db_isolated_requests_total"),
            counted("db_careful_requests_total"),
            harness.running(own_settings),
        ):
            await answer
