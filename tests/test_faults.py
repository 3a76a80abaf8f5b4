"""Everything fails once, under load: nothing is lost, nothing is done twice, and order is kept.

The service is a process of its own. What is broken is the process, or a server that these tests have started.
"""

import asyncio
import contextlib
import itertools
import json
import random
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self

import asyncpg
import pytest
from yarl import URL

import config
from dev import ports
from dev.postgres import PostgresServer
from dev.rabbitmq import RabbitServer
from src import database, wire
from src.client import Client, Reply
from tests import crash, harness
from tests.harness import Process

MANY = 400
AUDIT = "audit"
RELOAD, WRITE = "SELECT pg_reload_conf()", "SET default_transaction_read_only = off"
GRACE = config.Settings.model_fields["graceful_timeout"].default
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


class Load:
    """Requests in flight, from one client: each makes a session, or renames the one that they share.

    Each has a row or a version of its own, so that what is lost, doubled or out of order is seen.
    """

    def __init__(self, client: Client, settings: config.Settings, size: int = MANY) -> None:
        self.client = client
        self._settings = settings
        self._url = settings.dsn
        self._shared = str(uuid.uuid4())
        made = [("session.create", {"id": str(uuid.uuid4()), "title": "made"}) for _ in range(size)]
        renamed = [("session.update", {"id": self._shared, "title": str(number)}) for number in range(size)]
        shared = ("session.create", {"id": self._shared, "title": "made"})
        self._requests = [shared, *itertools.chain.from_iterable(zip(made, renamed, strict=True))]
        self._ids = [str(uuid.uuid4()) for _ in self._requests]
        self.replies: dict[str, Reply] = {}
        self._answered = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._sending = asyncio.gather(*self._send())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)

    def _send(self) -> Iterator[Awaitable[Reply]]:
        for message_id, (operation, body) in zip(self._ids, self._requests, strict=True):
            yield self._ask(message_id, operation, body)

    async def _ask(self, message_id: str, operation: str, body: dict[str, Any]) -> Reply:
        reply = await self.client.request(operation, body, message_id=message_id)
        async with self._answered:
            self.replies[message_id] = reply
            self._answered.notify_all()
        return reply

    async def answered(self, share: float) -> None:
        """Wait until this share of the requests is answered."""
        async with asyncio.timeout(harness.DEADLINE), self._answered:
            await self._answered.wait_for(lambda: len(self.replies) >= share * len(self._ids))

    async def assert_told_once(self) -> None:
        """No request was served a second time, not even in vain: each has told of its event once."""
        await self.answered(1)
        audit = harness.names(self._settings).events + AUDIT
        await harness.eventually(lambda: self._told(audit), "all events are there")
        assert await harness.depth(self._settings, audit) == len(self._ids)

    async def _told(self, audit: str) -> bool:
        return await harness.depth(self._settings, audit) >= len(self._ids)

    async def assert_exactly_once(self, *, ordered: bool = True) -> None:
        """Every request is answered, and once more with the same bytes; the rows, versions and events are theirs."""
        first = await self._sending
        again = await asyncio.gather(*self._send())
        assert [reply.body for reply in again] == [reply.body for reply in first]
        assert [reply.type for reply in first] == [operation for operation, _ in self._requests]
        renames = [json.loads(reply.body) for reply in first if reply.type == "session.update"]
        versions = [rename["version"] for rename in renames]
        assert (versions if ordered else sorted(versions)) == list(range(2, len(renames) + 2))
        assert [rename["title"] for rename in renames] == [str(number) for number in range(len(renames))]
        await self._assert_rows(max(renames, key=lambda rename: int(rename["version"])))
        await self._assert_events()
        await self._assert_settled()

    async def _assert_rows(self, last: dict[str, Any]) -> None:
        expected = {body["id"]: ("made", 1) for operation, body in self._requests if operation == "session.create"}
        expected[self._shared] = (last["title"], last["version"])
        found = await harness.fetch(self._url, "SELECT id::text, title, version FROM sessions")
        assert {row_id: tuple(rest) for row_id, *rest in found} == expected
        assert await harness.fetch(self._url, "SELECT count(*) FROM inbox") == [(len(self._ids),)]

    async def _assert_events(self) -> None:
        """Each at least once under one id, those of a row by its version."""
        told: dict[str, int] = {}
        async with harness.channel(self._settings.rabbitmq_url.get_secret_value()) as raw:
            queue = await raw.get_queue(harness.names(self._settings).events + AUDIT)
            async with asyncio.timeout(harness.DEADLINE), queue.iterator(no_ack=True) as messages:
                async for event in messages:
                    subject = event.headers[f"{wire.CLOUD_EVENT}subject"]
                    if subject == self._shared:
                        told.setdefault(str(event.message_id), int(str(event.headers[wire.ENTITY_VERSION])))
                    else:
                        told.setdefault(str(event.message_id), 0)
                    if len(told) == len(self._ids):
                        break
        versions = [version for version in told.values() if version]
        assert versions == list(range(1, len(self._ids) // 2 + 2))  # it was made, and renamed by every second request

    async def _assert_settled(self) -> None:
        names = harness.names(self._settings)
        assert await harness.depth(self._settings, names.dead) == 0
        assert await harness.depth(self._settings, names.partition(0)) == 0


@contextlib.asynccontextmanager
async def loaded(settings: config.Settings, size: int = MANY) -> AsyncIterator[Load]:
    """A load on the service, which runs, and a queue that keeps its events."""
    url, names = settings.rabbitmq_url.get_secret_value(), harness.names(settings)
    async with harness.channel(url) as raw:
        audit = await raw.declare_queue(names.events + AUDIT, durable=True)
        await audit.bind(names.events, "#")
    async with harness.connected(settings) as client, Load(client, settings, size) as load:
        yield load
    async with harness.channel(url) as raw:
        await raw.queue_delete(names.events + AUDIT)


# The process


@pytest.mark.parametrize("point", crash.POINTS)
async def test_a_crash_at_any_point_loses_and_doubles_nothing(settings: config.Settings, point: str) -> None:
    async with Process(settings, point) as doomed:
        await doomed.consuming()
        async with loaded(settings) as load:
            assert await doomed.wait() == -signal.SIGKILL
            async with Process(settings):
                await load.assert_exactly_once()


async def test_killed_five_times_at_any_moment_it_loses_and_doubles_nothing(settings: config.Settings) -> None:
    async with contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(Process(settings))
        await process.consuming()
        load = await stack.enter_async_context(loaded(settings, 2 * MANY))
        for kill in range(5):
            await load.answered(0.15 * kill)
            await asyncio.sleep(random.uniform(0, 0.1))  # the moment is any
            process.kill()
            await process.wait()
            process = await stack.enter_async_context(Process(settings))
        await load.assert_exactly_once()


async def stopped(process: Process) -> None:
    """Told to stop, it ends in order, and long before its grace does."""
    process.signal(signal.SIGTERM)
    async with asyncio.timeout(GRACE / 2):
        assert await process.wait() == 0


async def test_told_to_stop_three_times_under_load_it_ends_in_order(settings: config.Settings) -> None:
    async with contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(Process(settings))
        await process.consuming()
        load = await stack.enter_async_context(loaded(settings, 2 * MANY))
        for stop in range(3):
            await process.consuming()
            await load.answered(0.2 * (stop + 1))
            await stopped(process)
            process = await stack.enter_async_context(Process(settings))
        await load.assert_told_once()
        await load.assert_exactly_once()


async def test_told_to_stop_twice_it_ends_in_order(settings: config.Settings) -> None:
    async with Process(settings) as process:
        await process.consuming()
        async with loaded(settings) as load:
            await load.answered(0.2)
            process.signal(signal.SIGTERM)
            await stopped(process)
            async with Process(settings):
                await load.assert_exactly_once()


async def test_frozen_for_longer_than_the_heartbeat_it_goes_on(settings: config.Settings, rabbitmq_url: str) -> None:
    nervous = str(URL(rabbitmq_url).update_query(heartbeat=1))
    async with Process(settings, RABBITMQ_URL=nervous) as process:
        await process.consuming()
        async with loaded(settings) as load:
            await load.answered(0.2)
            process.signal(signal.SIGSTOP)
            await harness.eventually(lambda: lost(settings), "the broker gave it up")
            process.signal(signal.SIGCONT)
            await load.assert_exactly_once()


async def lost(settings: config.Settings) -> bool:
    """Whether the broker has no consumer of the reads any more."""
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as raw:
        queue = await raw.declare_queue(harness.names(settings).reads, passive=True)
        return queue.declaration_result.consumer_count == 0


# The database


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL to be broken."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="module")
def fragile_template(postgres: PostgresServer) -> Iterator[str]:
    with harness.migrated(postgres.url) as url:
        yield url


@pytest.fixture
async def fragile(postgres: PostgresServer, fragile_template: str, rabbitmq_url: str) -> AsyncIterator[config.Settings]:
    """Settings with the PostgreSQL that is to be broken."""
    async with harness.isolated(postgres.url, fragile_template, rabbitmq_url) as settings:
        yield settings


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.kill])
async def test_the_database_is_restarted_under_load(
    fragile: config.Settings, postgres: PostgresServer, end: Callable[[PostgresServer], None]
) -> None:
    async with Process(fragile) as process:
        await process.consuming()
        async with loaded(fragile) as load:
            for share in (0.2, 0.5):
                await load.answered(share)
                await asyncio.to_thread(end, postgres)
                await asyncio.to_thread(postgres.start)
            await load.assert_exactly_once()


async def test_requests_sent_while_the_database_is_down_wait_for_it(
    fragile: config.Settings, postgres: PostgresServer
) -> None:
    async with Process(fragile) as process:
        await process.consuming()
        async with loaded(fragile) as load:
            await asyncio.to_thread(postgres.stop)
            read = asyncio.create_task(load.client.call("user.count"))
            await process.says("waiting for the database")
            await process.says("reads: not consuming for the moment")
            await asyncio.to_thread(postgres.start)
            assert await read == {"count": 0}
            await load.assert_exactly_once()


async def test_told_to_stop_while_the_database_is_down_it_ends_and_gives_its_requests_back(
    fragile: config.Settings, postgres: PostgresServer
) -> None:
    async with Process(fragile) as process:
        await process.consuming()
        async with loaded(fragile) as load:
            await asyncio.to_thread(postgres.stop)
            await process.says("waiting for the database")
            await stopped(process)
            await asyncio.to_thread(postgres.start)
            async with Process(fragile):
                await load.assert_exactly_once()


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
async def test_its_backends_are_ended_again_and_again(settings: config.Settings, database_url: str, end: str) -> None:
    async with Process(settings) as process:
        await process.consuming()
        async with loaded(settings) as load:
            for share in range(10):
                await load.answered(share / 10)
                await harness.execute(database_url, f"SELECT {end}(pid) {OTHERS} ORDER BY random() LIMIT 1")
            await load.assert_exactly_once()


async def test_the_database_becomes_read_only_under_load(fragile: config.Settings, postgres: PostgresServer) -> None:
    async with Process(fragile) as process:
        await process.consuming()
        async with loaded(fragile) as load:
            await load.answered(0.2)
            await harness.execute(postgres.url, "ALTER SYSTEM SET default_transaction_read_only = on", RELOAD)
            await process.says("the database is read-only")
            await harness.execute(postgres.url, WRITE, "ALTER SYSTEM RESET default_transaction_read_only", RELOAD)
            await load.assert_exactly_once()


async def test_a_lock_on_a_table_is_waited_for(settings: config.Settings, database_url: str) -> None:
    async with Process(settings) as process:
        await process.consuming()
        async with loaded(settings) as load:
            async with locked(database_url, "sessions"):
                await harness.eventually(lambda: waiting(database_url), "it waits for the lock")
            await load.assert_exactly_once()


async def test_a_lock_that_outlasts_every_attempt_is_waited_for(
    settings: config.Settings, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(database.SERVER_SETTINGS, "lock_timeout", "20")
    async with harness.running(settings), loaded(settings, 50) as load:
        async with locked(database_url, "sessions"):
            await harness.eventually(lambda: said(caplog, "waiting for the database"), "it waits")
            assert not load.replies
        await load.assert_exactly_once()


async def said(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


@contextlib.asynccontextmanager
async def locked(url: str, table: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
    await connection.close()


async def waiting(url: str) -> bool:
    """Whether somebody waits for a lock in this database."""
    return bool((await harness.fetch(url, f"SELECT count(*) {OTHERS} AND wait_event_type = 'Lock'"))[0][0])


# The broker


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A RabbitMQ to be broken."""
    with RabbitServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
async def shaky(postgres_url: str, template: str, rabbitmq: RabbitServer) -> AsyncIterator[config.Settings]:
    """Settings with the RabbitMQ that is to be broken."""
    async with harness.isolated(postgres_url, template, rabbitmq.url) as settings:
        yield settings


def stop_app(server: RabbitServer) -> None:
    server.ctl("stop_app")
    server.ctl("start_app")


def kill(server: RabbitServer) -> None:
    server.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")  # RabbitMQ 3.10 forgets a quorum queue younger
    server.kill()  # than three minutes
    server.start()


def close_connections(server: RabbitServer) -> None:
    server.ctl("close_all_connections", "a test")


@pytest.mark.parametrize("fault", [close_connections, stop_app, kill])
async def test_the_broker_fails_under_load(
    shaky: config.Settings, rabbitmq: RabbitServer, fault: Callable[[RabbitServer], None]
) -> None:
    async with Process(shaky) as process:
        await process.consuming()
        async with loaded(shaky) as load:
            for share in (0.1, 0.3) if fault is close_connections else (0.1,):
                await load.answered(share)
                await asyncio.to_thread(fault, rabbitmq)
            await load.assert_exactly_once(ordered=False)


@pytest.mark.parametrize("end", ["in", "out"])
async def test_one_of_its_two_connections_is_closed_under_load(
    shaky: config.Settings, rabbitmq: RabbitServer, end: str
) -> None:
    async with Process(shaky) as process:
        await process.consuming()
        connection = await connection_of(rabbitmq, f"{shaky.service_name} {end}")
        async with loaded(shaky) as load:
            await load.answered(0.1)
            await asyncio.to_thread(rabbitmq.ctl, "close_connection", connection, "a test")
            await load.assert_exactly_once()


async def connection_of(server: RabbitServer, name: str) -> str:
    """The Erlang process of the connection that has this name, as soon as the broker lists it."""
    async with asyncio.timeout(harness.DEADLINE):
        while True:
            lines = await asyncio.to_thread(server.ctl, "list_connections", "pid", "client_properties")
            for line in lines.splitlines():
                if f'"{name}"' in line:
                    return line.split()[0]


async def test_its_queue_is_deleted_under_its_hands(settings: config.Settings) -> None:
    async with Process(settings) as process, harness.connected(settings) as client:
        await process.consuming()
        async with harness.channel(settings.rabbitmq_url.get_secret_value()) as raw:
            await raw.queue_delete(harness.names(settings).partition(0))
        await process.says("writes.0: consuming", times=2)
        await client.call("session.create", {})


@contextlib.asynccontextmanager
async def memory_alarm(server: RabbitServer) -> AsyncIterator[None]:
    """The broker reads nothing from who publishes."""
    await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
    yield
    await asyncio.to_thread(server.ctl, "set_vm_memory_high_watermark", "0.4")


async def test_during_a_memory_alarm_it_applies_and_stops_in_time_and_answers_later(
    shaky: config.Settings, rabbitmq: RabbitServer
) -> None:
    async with harness.running(shaky):
        pass  # declares
    url = shaky.dsn
    async with loaded(shaky) as load, contextlib.AsyncExitStack() as stack:
        async with memory_alarm(rabbitmq):
            first = await stack.enter_async_context(Process(shaky, GRACEFUL_TIMEOUT="1"))
            await first.consuming()
            await harness.eventually(lambda: applied(url), "it applies")
            await stopped(first)
            second = await stack.enter_async_context(Process(shaky))
            await second.consuming()
            assert not load.replies
        await load.assert_exactly_once()


async def applied(url: str) -> bool:
    return bool((await harness.fetch(url, "SELECT count(*) FROM inbox"))[0][0])


# The start


async def refusal(settings: config.Settings, **more: str) -> str:
    """What the service says when it refuses to start: one line, no traceback."""
    async with Process(settings, **more) as process:
        assert await process.wait() == 1
    return the_line(process)


def the_line(process: Process) -> str:
    """The one line of its log that tells of more than its progress."""
    (line,) = [line for line in process.log if "level=info" not in line]
    return line


def elsewhere(url: str, **parts: Any) -> str:
    """The URL with a wrong part."""
    parsed = URL(url)
    return str(parsed.with_password(parts["password"]) if "password" in parts else parsed.with_path(parts["path"]))


async def test_started_before_the_database_it_waits(fragile: config.Settings, postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.stop)
    async with Process(fragile) as process, harness.connected(fragile) as client:
        await process.says("waiting for PostgreSQL")
        await asyncio.to_thread(postgres.start)
        await process.consuming()
        await client.call("session.create", {})


async def test_started_before_the_broker_it_waits(settings: config.Settings, rabbitmq_url: str) -> None:
    (port,) = ports.free(1)
    later = str(URL(rabbitmq_url).with_port(port))
    async with Process(settings, RABBITMQ_URL=later) as process, harness.connected(settings) as client:
        await process.says("waiting for RabbitMQ")
        async with forwarded(port, URL(rabbitmq_url)):
            await process.consuming()
            await client.call("session.create", {})
            await stopped(process)


@contextlib.asynccontextmanager
async def forwarded(port: int, to: URL) -> AsyncIterator[None]:
    """The server at this URL, at another port of ours."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(to.host, to.port or 5672)
        await asyncio.gather(pipe(reader, outer), pipe(inner, writer), return_exceptions=True)

    async with await asyncio.start_server(connect, "127.0.0.1", port):
        yield


async def test_a_wrong_broker_password_is_said_in_one_line(settings: config.Settings, rabbitmq_url: str) -> None:
    line = await refusal(settings, RABBITMQ_URL=elsewhere(rabbitmq_url, password="wrong"))
    assert "refuses the login" in line
    assert "wrong" not in line


async def test_a_wrong_virtual_host_is_said_in_one_line(settings: config.Settings, rabbitmq_url: str) -> None:
    assert "nowhere" in await refusal(settings, RABBITMQ_URL=elsewhere(rabbitmq_url, path="/nowhere"))


async def test_a_wrong_database_name_is_said_in_one_line(settings: config.Settings, database_url: str) -> None:
    assert "nowhere" in await refusal(settings, DATABASE_URL=elsewhere(database_url, path="/nowhere"))


async def test_a_database_that_is_not_migrated_is_said_in_one_line(
    settings: config.Settings, postgres_url: str, database_url: str
) -> None:
    await harness.execute(database_url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    assert "main.py migrate" in await refusal(settings)


async def test_a_schema_that_is_ahead_is_warned_of_and_served(settings: config.Settings, database_url: str) -> None:
    await harness.execute(database_url, "UPDATE alembic_version SET version_num = 'of tomorrow'")
    async with Process(settings) as process, harness.connected(settings) as client:
        await process.says("ahead of this version")
        await process.consuming()
        await client.call("session.create", {})


async def test_a_queue_declared_with_other_arguments_is_said_in_one_line(settings: config.Settings) -> None:
    queue = harness.names(settings).partition(0)
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as raw:
        await raw.declare_queue(queue, durable=True)
    async with Process(settings) as process:
        assert await process.wait() == 1
    line = the_line(process)
    assert queue in line
    assert "cannot be changed" in line
