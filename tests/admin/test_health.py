"""HTTP beside the service: whether it lives, whether it is ready, and what is wrong with it."""

import asyncio
import contextlib
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, cast
from unittest import mock

import pytest

import config
from dev import ports
from src import schema
from src.admin import health, http
from src.admin.health import Health
from src.admin.single_flight import SingleFlight
from src.amqp.batch_subscriber import BatchSubscriber
from src.amqp.connections import StartupError
from src.database import Database
from src.service import Service
from src.startup import serving_http
from tests.faults.ending import stopped
from tests.support import harness, scraped
from tests.support.harness import Process
from tests.support.scraped import Answer

LIVE, READY, METRICS = "/health/live", "/health/ready", "/metrics"


@contextlib.asynccontextmanager
async def answering(service: Service) -> AsyncIterator[int]:
    """The port at which HTTP of the service answers."""
    (port,) = ports.free(1)
    chosen = service.settings.model_copy(update={"http_port": port})
    with mock.patch.object(service, "settings", chosen):
        async with serving_http(service):
            yield port


@pytest.fixture
async def port(service: Service) -> AsyncIterator[int]:
    async with answering(service) as chosen:
        yield chosen


async def until(port: int, path: str, condition: Callable[[Answer], bool]) -> Answer:
    """The first answer that is as wanted."""
    async with asyncio.timeout(harness.DEADLINE):
        while not condition(answer := await scraped.ask(port, path)):
            await asyncio.sleep(0.05)
    return answer


async def test_a_service_that_serves_lives_and_is_ready(port: int, settings: config.Settings) -> None:
    names = harness.names(settings)
    queues = {names.partition(0), names.reads, names.expired, names.unrouted}
    live, ready = await scraped.ask(port, LIVE), await scraped.ask(port, READY)
    assert (live.status, set(live.parts)) == (200, queues)
    assert (ready.status, set(ready.parts)) == (200, {"database", "schema", "broker"} | queues)


@pytest.mark.parametrize("path", [LIVE, READY, METRICS])
async def test_only_get_and_head_are_answered(port: int, path: str) -> None:
    assert (await scraped.ask(port, path)).status == 200
    head = await scraped.ask(port, path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert (await scraped.ask(port, path, method)).status == 405
    assert (await scraped.ask(port, f"{path}/more")).status == 404


async def test_connections_that_somebody_leaves_open_keep_nobody_out(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for _ in range(http.MAX_CONNECTIONS + 5):
            left = await asyncio.open_connection(scraped.HOST, port)
            stack.callback(left[1].close)
            left[1].write(b"GET /health/live HTTP/1.1\r\nHost: ")
            opened.append(left)
        assert (await scraped.ask(port, LIVE)).status == 200
        for reader, _ in opened[:6]:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        newest = opened[-1]
        newest[1].write(b"here\r\n\r\n")
        assert (await newest[0].readline()).startswith(b"HTTP/1.1 200")


async def test_metrics_come_in_prometheus_text_format(port: int) -> None:
    answer = await scraped.ask(port, METRICS)
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# TYPE db_requests_total counter" in answer.body


async def test_to_live_asks_neither_database_nor_broker() -> None:
    nobody: Any = None
    well = mock.Mock(spec=BatchSubscriber, lives=True)
    well.queue.name = "db.reads"
    assert Health(mock.Mock(spec=Database), nobody, [well]).live() == {"db.reads": "ok"}


async def test_a_loop_that_has_ended_by_itself_lives_no_more(service: Service, port: int) -> None:
    reads = service.broker.batch_subscribers[1]
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ended.set_result(None)
    with mock.patch.object(reads, "_task", ended):
        answer = await scraped.ask(port, LIVE)
    assert (answer.status, answer.wrong) == (503, {reads.queue.name})


async def test_a_queue_that_is_not_consumed_is_not_ready(service: Service, port: int) -> None:
    writes = service.broker.batch_subscribers[0]
    writes.consuming.clear()
    answer = await scraped.ask(port, READY)
    writes.consuming.set()
    assert (answer.status, answer.wrong) == (503, {writes.queue.name})


async def test_a_schema_that_is_behind_is_not_ready_and_one_that_is_ahead_is(own_settings: config.Settings) -> None:
    with mock.patch.object(health, "MAX_AGE", 0):
        async with harness.running(own_settings) as service, answering(service) as port:
            await harness.execute(
                own_settings.dsn, "CREATE TABLE kept AS SELECT * FROM alembic_version", "DELETE FROM alembic_version"
            )
            assert (await scraped.ask(port, READY)).wrong == {"schema"}
            assert (await scraped.ask(port, LIVE)).status == 200
            await harness.execute(own_settings.dsn, "INSERT INTO alembic_version VALUES ('of tomorrow')")
            assert (await scraped.ask(port, READY)).status == 200


async def test_a_standby_is_ready(service: Service, port: int) -> None:
    standby_settings = service.settings.model_copy()
    async with harness.running(standby_settings) as standby, answering(standby) as its_port:
        assert (await scraped.ask(port, READY)).status == 200
        assert (await scraped.ask(its_port, READY)).status == 200


async def test_whoever_asks_often_has_it_asked_once_a_second(port: int, service: Service) -> None:
    with mock.patch.object(schema, "compare", wraps=schema.compare) as compared:
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(scraped.ask(port, READY) for _ in range(30)))
        seconds = asyncio.get_running_loop().time() - begun
    assert compared.call_count <= 1 + seconds / health.MAX_AGE


async def test_what_does_not_answer_is_asked_once_and_waited_for_no_longer_than_the_timeout() -> None:
    never, asked = asyncio.Event(), mock.Mock()

    async def hang() -> None:
        asked()
        await never.wait()

    check = SingleFlight(hang, max_age=0, timeout=0.05)
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
            await check.result()
    assert asked.call_count == 1
    never.set()
    await harness.eventually(lambda: asyncio.sleep(0, check._call and check._call.done()), "it has answered")
    await check.result()
    assert asked.call_count == 2


async def test_a_check_that_the_loss_of_a_connection_cancels_has_a_result() -> None:
    async def lose() -> None:
        cast("asyncio.Task[None]", asyncio.current_task()).cancel()
        await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await SingleFlight(lose, max_age=0, timeout=1).result()


async def test_it_takes_no_signal(service: Service) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with answering(service) as port:
        assert (await scraped.ask(port, LIVE)).status == 200
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_port_that_is_taken_is_said_in_one_line(own_settings: config.Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        async with Process(own_settings, HTTP_PORT=number) as process:
            assert await process.wait() == 1
    (line,) = process.log
    assert line == f"HTTP_PORT: 127.0.0.1:{number} is not to be had: address already in use\n"


@pytest.mark.parametrize(("host", "named"), [("nowhere.invalid", "HTTP_PORT"), ("a..b", "HTTP_HOST: a..b is no host")])
async def test_a_host_that_is_none_of_ours_is_refused(service: Service, host: str, named: str) -> None:
    chosen = service.settings.model_copy(update={"http_port": 1, "http_host": host})
    with mock.patch.object(service, "settings", chosen), pytest.raises(StartupError, match=named):
        async with serving_http(service):
            pass


async def test_an_end_of_http_by_itself_ends_the_service(own_settings: config.Settings) -> None:
    service = Service(own_settings)
    (port,) = ports.free(1)
    service.settings = own_settings.model_copy(update={"http_port": port})
    with mock.patch("src.admin.http._Server.serve", side_effect=OSError("gone")):
        async with serving_http(service):
            await harness.eventually(lambda: asyncio.sleep(0, service.failure), "the service ends")
    assert isinstance(service.failure, OSError)


async def test_a_signal_is_the_services_and_not_that_of_http(own_settings: config.Settings) -> None:
    (port,) = ports.free(1)
    async with Process(own_settings, HTTP_PORT=str(port)) as process:
        await process.consuming()
        assert (await until(port, READY, lambda answer: answer.status == 200)).wrong == set()
        await stopped(process)
    assert "stopped" in process.log[-1]
    assert not [line for line in process.log if "uvicorn" in line or "Pool" in line]


async def test_told_to_stop_while_it_waits_at_the_start_it_ends_at_once(own_settings: config.Settings) -> None:
    port, closed = ports.free(2)
    nowhere = f"postgresql://ada@127.0.0.1:{closed}/db"
    async with Process(own_settings, HTTP_PORT=str(port), DATABASE_URL=nowhere) as process:
        await process.says("waiting for PostgreSQL")
        await scraped.ask(port, LIVE)
        process.signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("of", "away"),
    [
        ("database", {"DATABASE_URL": "postgresql://ada@127.0.0.1:{}/db"}),
        ("broker", {"RABBITMQ_URL": "amqp://ada@127.0.0.1:{}/"}),
    ],
)
async def test_what_is_waited_for_at_the_start_is_an_outage(
    own_settings: config.Settings, of: str, away: dict[str, str]
) -> None:
    port, closed = ports.free(2)
    nowhere = {name: url.format(closed) for name, url in away.items()}
    counted = re.compile(rb'^db_outage_seconds_total\{of="%b"\} (?!0\.0$)' % of.encode(), re.MULTILINE)
    async with Process(own_settings, HTTP_PORT=str(port), **nowhere) as process:
        await process.says("waiting for ")
        await until(port, METRICS, lambda answer: bool(counted.search(answer.body)))


async def test_it_lives_while_it_waits_for_a_database_at_the_start(own_settings: config.Settings) -> None:
    port, closed = ports.free(2)
    nowhere = f"postgresql://ada@127.0.0.1:{closed}/db"
    async with Process(own_settings, HTTP_PORT=str(port), DATABASE_URL=nowhere) as process:
        await process.says("waiting for PostgreSQL")
        assert (await scraped.ask(port, LIVE)).status == 200
        ready = await scraped.ask(port, READY)
        assert ready.status == 503
        assert "database" in ready.wrong
        assert (await scraped.ask(port, METRICS)).status == 200
