"""Where the service may die: points wrapped around production code, which knows nothing of them."""

import os
import signal
from collections.abc import Callable
from typing import Any

from src.amqp.batch import Batch
from src.amqp.confirm_channel import ConfirmChannel
from src.consumers.decoder import Decoder
from src.consumers.messages import Settled
from src.consumers.settlement import Settlement
from src.errors import UnknownOperation
from src.processing import inbox
from src.processing.read_batch import BatchReader
from src.processing.unit_of_work import UnitOfWork

type Count = Callable[[], None]


def before(function: Any, count: Count) -> Any:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        count()
        return function(*args, **kwargs)

    return wrapped


def poisoned(function: Any, where: Callable[..., object], end: Count) -> Any:
    def wrapped(*args: Any) -> Any:
        if POISON in repr(where(*args)):
            end()
        return function(*args)

    return wrapped


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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
    "publishing": (after, ConfirmChannel, "publish", 3),
    "after confirm": (after, Settlement, "publish", 3),
    "after ack": (after, Batch, "ack", 3),
}
"""When it is, of what, and at which call: that of a single request, or that of a batch."""

POISON = "poison"
DEADLY: dict[str, tuple[Any, str, Callable[..., object]]] = {
    "decoding": (Decoder, "decode", lambda _, delivery: delivery.body),
    "handling": (UnitOfWork, "_handle", lambda _, __, request: request.data),
    "reading": (BatchReader, "_outcome", lambda _, __, request: request.data),
    "refusing": (Decoder, "reject", lambda _, given, problem: isinstance(problem, UnknownOperation) and given.body),
    "answering": (Settled, "reply", lambda settled: settled.received.delivery.body),
}
"""When a request that has the poison in it is the end: at which call, and where in its arguments it is."""


def die_at(point: str) -> None:
    """Make the call of this point the process's last, or that of one that the poison makes deadly."""
    if point in DEADLY:
        owner, name, where = DEADLY[point]
        setattr(owner, name, poisoned(getattr(owner, name), where, kill))
        return
    when, owner, name, nth = POINTS[point]
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            kill()

    setattr(owner, name, when(getattr(owner, name), count))
