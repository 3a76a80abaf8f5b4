"""Asking what may not answer: once at a time, not too often, and with an end to the patience."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any


class SingleFlight[T]:
    """``ask`` is asked anew when its answer is older than ``keep`` seconds, and waited for ``patience`` seconds.

    It is left alone beyond that, not cancelled: to cancel what hangs may hang as well.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, keep: float, patience: float) -> None:
        self._ask = ask
        self._keep = keep
        self._patience = patience
        self._asked = 0.0
        self._asking: asyncio.Future[T] | None = None

    async def answer(self) -> T:
        """The newest answer. Raises what asking raises, and TimeoutError."""
        moment = monotonic()
        if self._asking is None or (self._asking.done() and moment - self._asked >= self._keep):
            self._asked = moment
            self._asking = asyncio.ensure_future(self._ask())
            self._asking.add_done_callback(_look_at)
        asking = self._asking
        await asyncio.wait({asking}, timeout=max(0.0, self._asked + self._patience - moment))
        if not asking.done():
            raise TimeoutError(f"no answer within {self._patience:g} s")
        if asking.cancelled():  # aiormq cancels whoever waits on a connection that it closes
            raise ConnectionError("the connection was closed")
        return asking.result()


def _look_at(asking: asyncio.Future[Any]) -> None:
    """Nobody may be left who waits for it, and asyncio would complain of an error that nobody has seen."""
    if not asking.cancelled():
        asking.exception()
