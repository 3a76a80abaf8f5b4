"""The database fails under load: everything waits for it, nothing is lost or done twice, and order is kept."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from aio_pika import Message

import config
from dev.postgres import PostgresServer
from src.dialects import postgresql
from src.service import Service
from tests.faults.ending import stopped
from tests.faults.load import assert_outlived, loaded
from tests.support import harness, requester
from tests.support.harness import Process

RELOAD, WRITE = "SELECT pg_reload_conf()", "SET default_transaction_read_only = off"
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.kill])
async def test_the_database_is_restarted_under_load(
    fragile: config.Settings, postgres: PostgresServer, end: Callable[[PostgresServer], None]
) -> None:
    await assert_outlived(fragile, postgres, end)


async def test_requests_sent_while_the_database_is_down_wait_for_it(
    fragile: config.Settings, postgres: PostgresServer
) -> None:
    async with Process(fragile) as process:
        await process.consuming()
        async with loaded(fragile) as load:
            await asyncio.to_thread(postgres.stop)
            read = asyncio.create_task(load.client.call("user.count"))
            await process.says("waiting for the database")
            await process.says("waiting for the database with 1 reads")
            await asyncio.to_thread(postgres.start)
            assert await read == {"count": 0}
            await load.assert_exactly_once()


async def test_reads_are_answered_while_the_database_is_down_though_writes_that_expired_wait_for_it(
    fragile: config.Settings, postgres: PostgresServer
) -> None:
    impatient, names = fragile.model_copy(update={"read_ttl": 1}), harness.names(fragile)
    late = Message(b'{"title":"served"}', message_id="m", correlation_id="late")
    async with harness.running(impatient), requester.asking(fragile) as db:
        served = await db.ask("session.create", late.body, late.message_id)
        await asyncio.to_thread(postgres.stop)
        async with harness.channel(fragile.rabbitmq_url.get_secret_value()) as raw:
            late.reply_to = db.reply_to
            await (await raw.get_exchange(names.expired)).publish(late, "session.create")
        backlog = [await db.publish("session.count") for _ in range(500)]
        assert {answer.problem for answer in await requester.finished(backlog)} == {"deadline-exceeded"}
        assert not db.answers.of("late")
        await asyncio.to_thread(postgres.start)
        await db.answers.reach(lambda: db.answers.of("late") == [served])
        assert (await db.ask("session.count")).document == {"count": 1}


async def test_reads_that_come_back_while_the_database_is_down_are_answered_though_they_are_suspected(
    fragile: config.Settings, postgres: PostgresServer
) -> None:
    impatient, reads = fragile.model_copy(update={"read_ttl": 2}), harness.names(fragile).reads

    async def taken() -> bool:
        return await harness.depth(fragile, reads) == 0

    async with requester.asking(fragile) as db:
        async with harness.running(impatient):
            await asyncio.to_thread(postgres.stop)
            answers = [await db.publish("session.count") for _ in range(20)]
            await harness.eventually(taken, "the service has them all")
        service = Service(impatient)
        await service.app.start()  # of its queues those of writes wait
        try:
            assert {answer.problem for answer in await requester.finished(answers)} == {"deadline-exceeded"}
        finally:
            await service.app.stop()
            await asyncio.to_thread(postgres.start)


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
async def test_its_backends_are_ended_again_and_again(
    settings: config.Settings, database_url: str, end: str, chance: random.Random
) -> None:
    async with Process(settings) as process:
        await process.consuming()
        async with loaded(settings) as load:
            for share in range(10):
                await load.answered(share / 10)
                backends = await harness.fetch(database_url, f"SELECT pid {OTHERS} ORDER BY backend_start")
                for (backend,) in chance.sample(backends, k=min(1, len(backends))):
                    await harness.execute(database_url, f"SELECT {end}({backend})")
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
    monkeypatch.setitem(postgresql.SERVER_SETTINGS, "lock_timeout", "20")
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
