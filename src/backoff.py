"""Delays between the attempts of a retry loop: exponential, with jitter."""

import asyncio
import math
import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Exponential backoff with jitter, so that processes that wait for one server do not retry in step.

    ``first`` is the upper bound of the first delay in seconds, ``longest`` that of all delays.
    """

    first: float = 0.1
    longest: float = 5.0
    _bound: float | None = None

    def delay(self) -> float:
        """Return the seconds to wait before the next attempt: between half of the current bound and the bound."""
        bound = self._bound or self.first
        self._bound = min(bound * 2, self.longest)
        return bound * random.uniform(0.5, 1)

    def reset(self) -> None:
        """Begin again with the first delay, after an attempt that succeeded."""
        self._bound = None

    async def pause(self, stopping: asyncio.Event | None = None, *, at_most: float = math.inf) -> None:
        """Wait for the next delay or ``at_most`` seconds. Return early when ``stopping`` is set."""
        delay = min(self.delay(), at_most)
        if stopping is None:
            await asyncio.sleep(delay)
            return
        try:
            async with asyncio.timeout(delay):
                await stopping.wait()
        except TimeoutError:
            return
