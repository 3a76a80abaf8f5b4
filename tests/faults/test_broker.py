"""The broker fails under load: nothing is lost or done twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

import config
from dev.rabbitmq import RabbitServer
from tests.faults.ending import stopped
from tests.faults.load import loaded
from tests.support import harness
from tests.support.harness import Process


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
    shaky: config.Settings, private_rabbitmq: RabbitServer, fault: Callable[[RabbitServer], None]
) -> None:
    async with Process(shaky) as process:
        await process.consuming()
        async with loaded(shaky) as load:
            for share in (0.1, 0.3) if fault is close_connections else (0.1,):
                await load.answered(share)
                await asyncio.to_thread(fault, private_rabbitmq)
            await load.assert_exactly_once(ordered=False)


@pytest.mark.parametrize("end", ["in", "out"])
async def test_one_of_its_two_connections_is_closed_under_load(
    shaky: config.Settings, private_rabbitmq: RabbitServer, end: str
) -> None:
    async with Process(shaky) as process:
        await process.consuming()
        connection = await connection_of(private_rabbitmq, f"{shaky.service_name} {end}")
        async with loaded(shaky) as load:
            await load.answered(0.1)
            await asyncio.to_thread(private_rabbitmq.ctl, "close_connection", connection, "a test")
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
    shaky: config.Settings, private_rabbitmq: RabbitServer
) -> None:
    async with harness.running(shaky):
        pass  # declares
    url = shaky.dsn
    async with loaded(shaky) as load, contextlib.AsyncExitStack() as stack:
        async with memory_alarm(private_rabbitmq):
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
