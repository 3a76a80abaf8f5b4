"""Single flight: callers that ask at the same time share one call of a function that may hang."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any


class SingleFlight[T]:
    """Calls ``fetch`` once at a time, and again when its result is older than ``max_age`` seconds.

    A caller waits ``timeout`` seconds from the beginning of the call. A call that hangs is not cancelled: to cancel it
    may hang as well.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, max_age: float, timeout: float) -> None:
        self._fetch = fetch
        self._max_age = max_age
        self._timeout = timeout
        self._began = 0.0
        self._call: asyncio.Future[T] | None = None

    async def result(self) -> T:
        """Return the newest result. Raises what ``fetch`` raises, and TimeoutError."""
        moment = monotonic()
        if self._call is None or (self._call.done() and moment - self._began >= self._max_age):
            self._began = moment
            self._call = asyncio.ensure_future(self._fetch())
            self._call.add_done_callback(_retrieve_exception)
        call = self._call
        await asyncio.wait({call}, timeout=max(0.0, self._began + self._timeout - moment))
        if not call.done():
            raise TimeoutError(f"no answer within {self._timeout:g} s")
        if call.cancelled():  # aiormq cancels everyone who waits on a connection that it closes
            raise ConnectionError("the connection was closed")
        return call.result()


def _retrieve_exception(call: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging an exception that no caller waited for."""
    if not call.cancelled():
        call.exception()
