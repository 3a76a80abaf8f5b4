"""Outcome → messages: the answer, the events, or the dead letter.

What becomes of an outcome is decided here and nowhere else:

===========================================  =========  =========  ==============================
a delivery and its outcome                   answered   announced  dead letter, under which reason
===========================================  =========  =========  ==============================
served                                       yes        yes        –
rejected                                     yes        yes        –
rejected, a write without an address         –          yes        the problem
rejected, a write whose answer was refused   in vain    yes        ``unanswered``, but for a direct reply-to
failed, a write                              yes        –          the problem
what has killed the process, a read as well  yes        –          ``kills-process``
any other read                               yes        –          –
===========================================  =========  =========  ==============================

Who has no address is not answered, a dry run announces nothing, and what is not known may have been a write. An event
that a subscriber's full queue refuses is parked until there is room: that is nothing to the request.
"""

import hashlib
import itertools
import uuid
from dataclasses import dataclass, replace
from typing import Any

from src import wire
from src.amqp.frames import UNDECODABLE, Message, Properties
from src.clock import now, timestamp
from src.consumers.decoder import Received
from src.errors import place
from src.processing.request import Event, Outcome, State

PERSISTENT = 2
LONGEST_COPIED = 800  # bytes of a header: two of them and all short strings fit the smallest frame, of 4,096 bytes
MOST_REPLAYS = 2**31
UNANSWERED = "unanswered"
KILLS_PROCESS = "kills-process"
_REPLY_IDS = map(f"{uuid.uuid4().hex}.{{}}".format, itertools.count(1))  # by which one that is returned is known
_EVENT_IDS = uuid.UUID("6f1d3f0a-53f5-5c0e-9d0c-1c0f6a1b7d52")


@dataclass(slots=True)
class Settled:
    """A delivery and what became of it, as the messages that say so."""

    received: Received[Any]
    outcome: Outcome

    def reply(self) -> Message | None:
        """The answer, to the address that this copy of the request names, and to it alone."""
        received, outcome = self.received, self.outcome
        if received.reply_to is None:
            return None
        properties = Properties(
            content_type=outcome.content_type,
            message_id=next(_REPLY_IDS),
            message_type=outcome.type,
            correlation_id=received.correlation_id,
            delivery_mode=PERSISTENT,
            headers={wire.TRACEPARENT: received.traceparent} if received.traceparent else None,
        )
        return Message("", received.reply_to, outcome.body, properties, mandatory=not received.direct)

    def events(self, names: wire.Names) -> list[Message]:
        """What happened, each under an id that is the same however often it is published."""
        if self.received.headers.get(wire.DRY_RUN):
            return []
        return [_event(self.received, event, index, names) for index, event in enumerate(self.outcome.events)]

    def dead_letter(self, names: wire.Names, *, answered: bool) -> Message | None:
        """The request as it came (of a body that was too large the beginning), where nobody else would hear of it."""
        reason = self._reason(answered=answered)
        return _dead_letter(self.received, reason, self.outcome, names) if reason else None

    def _reason(self, *, answered: bool) -> str | None:
        received, outcome = self.received, self.outcome
        if outcome.state is State.DEADLY:
            return KILLS_PROCESS
        if not received.may_write:
            return None
        if outcome.state is State.FAILED:
            return outcome.type
        if outcome.state is State.REJECTED and received.reply_to is None:
            return outcome.type
        if outcome.state is State.REJECTED and not answered and not received.direct:
            return UNANSWERED
        return None


def parked(event: Message, names: wire.Names) -> Message:
    """The same event, kept where the broker publishes it again and again, until each of its queues has taken it."""
    return replace(event, exchange=names.parked, mandatory=True)


def failure(outcome: Outcome) -> str:
    """What went wrong. Of a failure only the exception's type and place: its message may hold what the request said."""
    error = outcome.error
    if error is None or outcome.state is not State.FAILED:
        return str(error or "")
    return place(error)


def _event(received: Received[Any], event: Event, index: int, names: wire.Names) -> Message:
    message_id = received.properties.message_id
    origin = f"{received.sender}\0{message_id}\0{index}\0{event.name}\0".encode() + event.body
    event_id = _uuid5(origin) if message_id else str(uuid.uuid4())
    headers = {
        f"{wire.CLOUD_EVENT}id": event_id,
        f"{wire.CLOUD_EVENT}type": event.name,
        f"{wire.CLOUD_EVENT}source": f"/{names.service}",
        f"{wire.CLOUD_EVENT}subject": event.subject,
        f"{wire.CLOUD_EVENT}time": event.time,
        f"{wire.CLOUD_EVENT}specversion": "1.0",
        wire.ENTITY_VERSION: event.version,
        wire.CAUSATION_ID: message_id or None,
        wire.TRACEPARENT: received.traceparent,
    }
    properties = Properties(
        content_type=wire.JSON,
        message_type=event.name,
        message_id=event_id,
        correlation_id=received.correlation_id,
        delivery_mode=PERSISTENT,
        headers={name: value for name, value in headers.items() if value is not None},
    )
    return Message(names.events, event.name, event.body, properties)


def _uuid5(origin: bytes) -> str:
    """``uuid.uuid5`` of bytes in our namespace, RFC 9562, without the objects in between."""
    digest = bytearray(hashlib.sha1(_EVENT_IDS.bytes + origin, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _dead_letter(received: Received[Any], reason: str, outcome: Outcome, names: wire.Names) -> Message:
    """The request, addressed to nobody but its reader."""
    properties = received.properties
    headers: dict[str, Any] = {
        wire.REASON: reason,
        wire.DETAIL: _shortened(_detail(reason, outcome)),
        wire.OPERATION: received.delivery.routing_key,
        wire.DIED_AT: timestamp(now()),
    }
    if received.delivery.size > len(received.delivery.body):
        headers[wire.SIZE] = received.delivery.size
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
    return Message(names.dead, received.delivery.routing_key, received.delivery.body, copied, mandatory=True)


def _copied(received: Received[Any]) -> dict[str, Any]:
    """What a replay must say as well: without them it would be another request, a dry run a real one."""
    given = received.headers
    key, replay = given.get(wire.PARTITION_KEY), given.get(wire.REPLAY)
    copied = {
        wire.PARTITION_KEY: key if isinstance(key, str) and key == _shortened(key) else None,
        wire.REPLAY: replay if type(replay) is int and 0 < replay < MOST_REPLAYS else None,
        wire.DRY_RUN: True if given.get(wire.DRY_RUN) else None,
        UNDECODABLE: True if UNDECODABLE in given else None,
        wire.SENDER: received.sender or None,
    }
    return {name: value for name, value in copied.items() if value is not None}


def _shortened(text: str) -> str:
    return text.encode(errors="replace")[:LONGEST_COPIED].decode(errors="ignore")


def _detail(reason: str, outcome: Outcome) -> str:
    return outcome.type if reason == UNANSWERED else failure(outcome)
