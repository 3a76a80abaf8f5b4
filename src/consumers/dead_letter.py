"""The dead-letter policy: which requests become dead letters, under which reason, as which message."""

from typing import Any, assert_never

from src import wire
from src.amqp.frames import UNDECODABLE, Message, Properties
from src.clock import now, timestamp
from src.consumers.messages import PERSISTENT, Received, Settled, failure
from src.errors import Problem
from src.processing.outcome import State

LONGEST_COPIED = 800  # bytes of a header: two of them and all short strings fit the smallest frame, of 4,096 bytes


def reasons() -> list[str]:
    """Return every reason that a dead letter may have, without the prefix of problem types."""
    return [*(problem.name() for problem in Problem.__subclasses__()), wire.UNANSWERED, wire.KILLS_PROCESS]


def reason(settled: Settled, *, replied: bool) -> str | None:
    """Return the reason for a dead letter, or None. ``replied`` says that the broker has taken the reply, if any."""
    received, outcome = settled.received, settled.outcome
    match outcome.state:
        case State.DEADLY:
            return wire.KILLS_PROCESS
        case State.SERVED:
            return None
        case State.FAILED:
            return outcome.type if received.may_write else None
        case State.REJECTED:
            if not received.may_write:
                return None
            if received.reply_to is None:
                return outcome.type
            return None if replied or received.direct else wire.UNANSWERED
        case _:
            assert_never(outcome.state)


def message(settled: Settled, reason: str, names: wire.Names) -> Message:
    """Return the dead letter: the request as it came, or the beginning of its body where that was too large."""
    received, outcome = settled.received, settled.outcome
    delivery, properties = received.delivery, received.properties
    headers: dict[str, Any] = {
        wire.REASON: reason,
        wire.DETAIL: _shortened(outcome.type if reason == wire.UNANSWERED else failure(outcome)),
        wire.OPERATION: delivery.routing_key,
        wire.DIED_AT: timestamp(now()),
    }
    if delivery.size > len(delivery.body):
        headers[wire.SIZE] = delivery.size
    headers |= _copied(received)
    copied = Properties(
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        app_id=properties.app_id,
        delivery_mode=PERSISTENT,
        headers=headers,
    )
    return Message(names.dead, delivery.routing_key, delivery.body, copied, mandatory=True)


def _copied(received: Received[Any]) -> dict[str, Any]:
    """Return the headers that a replay needs: without them it would be another request, or a dry run a real one."""
    given = received.headers
    key, replay = given.get(wire.PARTITION_KEY), given.get(wire.REPLAY)
    copied = {
        wire.PARTITION_KEY: key if isinstance(key, str) and key == _shortened(key) else None,
        wire.REPLAY: replay if type(replay) is int and 0 < replay < wire.MOST_REPLAYS else None,
        wire.DRY_RUN: True if given.get(wire.DRY_RUN) else None,
        UNDECODABLE: True if UNDECODABLE in given else None,
        wire.SENDER: received.sender or None,
    }
    return {name: value for name, value in copied.items() if value is not None}


def _shortened(text: str) -> str:
    return text.encode(errors="replace")[:LONGEST_COPIED].decode(errors="ignore")
