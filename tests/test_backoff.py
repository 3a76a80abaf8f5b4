"""Delays between attempts."""

import asyncio

import pytest

from src.backoff import Backoff


def test_delays_double_up_to_the_longest_with_jitter() -> None:
    backoff = Backoff(first=1, longest=5)
    for bound in (1, 2, 4, 5, 5):
        assert bound / 2 <= backoff.delay() <= bound


def test_two_processes_do_not_wait_equally_long() -> None:
    assert len({Backoff().delay() for _ in range(100)}) > 90


def test_after_a_success_the_first_delay_comes_again() -> None:
    backoff = Backoff(first=1, longest=60)
    for _ in range(5):
        backoff.delay()
    backoff.reset()
    assert backoff.delay() <= 1


@pytest.mark.parametrize("stopping", [None, asyncio.Event()], ids=["for ever", "until told to stop"])
async def test_a_pause_takes_as_long_as_the_delay(stopping: asyncio.Event | None) -> None:
    begun = asyncio.get_running_loop().time()
    await Backoff(first=0.04).pause(stopping)
    assert asyncio.get_running_loop().time() - begun >= 0.015


@pytest.mark.parametrize("stopping", [None, asyncio.Event()], ids=["for ever", "until told to stop"])
async def test_a_pause_ends_at_its_limit(stopping: asyncio.Event | None) -> None:
    async with asyncio.timeout(10):
        await Backoff(first=60, longest=60).pause(stopping, at_most=0.01)


async def test_a_pause_ends_when_the_service_stops() -> None:
    stopping = asyncio.Event()
    pausing = asyncio.create_task(Backoff(first=60, longest=60).pause(stopping))
    await asyncio.sleep(0)
    stopping.set()
    async with asyncio.timeout(10):
        await pausing
