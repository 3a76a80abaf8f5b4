"""Pauses between attempts: longer and longer, and never the same for two processes that wait for the same thing."""

import asyncio
import random
from collections.abc import Iterator


def growing(first: float = 0.1, longest: float = 5.0) -> Iterator[float]:
    """Seconds to wait before each next attempt, without end: about ``first``, then twice as long, up to ``longest``."""
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1)
        pause = min(pause * 2, longest)


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, and not longer than this."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
