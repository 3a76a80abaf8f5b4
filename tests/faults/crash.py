"""Where the service may die: points wrapped around production code, which knows nothing of them."""

import os
import signal
from collections.abc import Callable
from typing import Any

from src.amqp.batches import Batch
from src.amqp.decoder import Decoder
from src.amqp.outlet import Outlet
from src.subscribers import Subscribers
from src.work import inbox
from src.work.unit_of_work import UnitOfWork

type Count = Callable[[], None]


def before(function: Any, count: Count) -> Any:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        count()
        return function(*args, **kwargs)

    return wrapped


def after(function: Any, count: Count) -> Any:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = await function(*args, **kwargs)
        count()
        return result

    return wrapped


POINTS: dict[str, tuple[Callable[[Any, Count], Any], Any, str, int]] = {
    "received": (before, Decoder, "decode", 200),
    "decoded": (before, UnitOfWork, "apply", 3),
    "before commit": (after, inbox, "record", 3),
    "after commit": (after, UnitOfWork, "apply", 3),
    "publishing": (after, Outlet, "send", 3),
    "after confirm": (after, Subscribers, "_publish", 3),
    "after ack": (after, Batch, "ack", 3),
}
"""When it is, of what, and at which call: that of a single request, or that of a batch."""


def die_at(point: str) -> None:
    """Make the call of this point the process's last."""
    when, owner, name, nth = POINTS[point]
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, when(getattr(owner, name), count))
