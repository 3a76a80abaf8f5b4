"""The process is killed, stopped or frozen under load: nothing is lost or done twice, and order is kept."""

import asyncio
import contextlib
import random
import signal

import pytest
from yarl import URL

import config
from tests.faults import crash
from tests.faults.ending import stopped
from tests.faults.load import MANY, loaded
from tests.support import harness
from tests.support.harness import Process


@pytest.mark.parametrize("point", crash.POINTS)
async def test_a_crash_at_any_point_loses_and_doubles_nothing(settings: config.Settings, point: str) -> None:
    async with Process(settings, point) as doomed:
        await doomed.consuming()
        async with loaded(settings) as load:
            assert await doomed.wait() == -signal.SIGKILL
            async with Process(settings):
                await load.assert_exactly_once()


async def test_killed_three_times_at_any_moment_it_loses_and_doubles_nothing(
    settings: config.Settings, chance: random.Random
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(Process(settings))
        await process.consuming()
        load = await stack.enter_async_context(loaded(settings, 2 * MANY))
        for kill in range(3):
            await load.answered(0.25 * kill)
            await asyncio.sleep(chance.uniform(0, 0.1))  # the moment is any
            process.kill()
            await process.wait()
            process = await stack.enter_async_context(Process(settings))
        await load.assert_exactly_once()


async def test_told_to_stop_under_load_again_and_again_it_ends_in_order(settings: config.Settings) -> None:
    async with contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(Process(settings))
        await process.consuming()
        load = await stack.enter_async_context(loaded(settings, 2 * MANY))
        for stop in range(2):
            await process.consuming()
            await load.answered(0.3 * (stop + 1))
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
