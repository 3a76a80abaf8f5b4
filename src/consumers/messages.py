"""A decoded delivery, and the messages that follow from its outcome: the reply, the events, parked events."""

import hashlib
import itertools
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from src import wire
from src.amqp.frames import Delivery, Message, Properties
from src.dialects.driver_errors import locate
from src.processing.outcome import Event, Outcome, State
from src.processing.request import Decodable, RejectedRequest, Request

PERSISTENT = 2
_REPLY_IDS = map(f"{uuid.uuid4().hex}.{{}}".format, itertools.count(1))  # tell the replies apart that are returned
_EVENT_IDS = uuid.UUID("6f1d3f0a-53f5-5c0e-9d0c-1c0f6a1b7d52")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, level 1


@dataclass(slots=True)
class Received[O: Decodable]:
    """A delivery with its request. ``operation`` is None where this version, or this queue, has no such operation."""

    delivery: Delivery
    operation: O | None
    request: Request[O] | RejectedRequest

    @property
    def properties(self) -> Properties:
        return self.delivery.properties

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.delivery.properties.headers or {}

    @property
    def sender(self) -> str:
        return self.delivery.properties.user_id or ""

    @property
    def reply_to(self) -> str | None:
        return self.delivery.properties.reply_to or None

    @property
    def direct(self) -> bool:
        """Whether the requester uses RabbitMQ's direct reply-to, which returns every message that it delivers."""
        return (self.reply_to or "").startswith(wire.DIRECT_REPLY_TO)

    @property
    def correlation_id(self) -> str | None:
        return self.delivery.properties.correlation_id or self.delivery.properties.message_id or None

    @property
    def may_write(self) -> bool:
        """Whether the request would change rows; a request of an unknown operation may have been a write."""
        return self.operation is None or self.operation.writes

    @property
    def traceparent(self) -> str | None:
        value = (self.delivery.properties.headers or {}).get(wire.TRACEPARENT)
        return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of a log record about this request. None of them holds anything of the body."""
        fields = {
            "operation": self.delivery.routing_key,
            "message_id": self.delivery.properties.message_id,
            "correlation_id": self.delivery.properties.correlation_id,
            "trace_id": self.traceparent and self.traceparent.split("-")[1],
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(slots=True)
class Settled:
    """A delivery with its outcome, and the messages that tell of it."""

    received: Received[Any]
    outcome: Outcome

    def reply(self) -> Message | None:
        """Return the reply to the address that this copy of the request names, or None where it names none."""
        received, outcome = self.received, self.outcome
        reply_to, traceparent = received.reply_to, received.traceparent
        if reply_to is None:
            return None
        properties = Properties(
            content_type=outcome.content_type,
            message_id=next(_REPLY_IDS),
            message_type=outcome.type,
            correlation_id=received.correlation_id,
            delivery_mode=PERSISTENT,
            headers={wire.TRACEPARENT: traceparent} if traceparent else None,
        )
        return Message("", reply_to, outcome.body, properties, mandatory=not received.direct)

    def events(self, names: wire.Names) -> list[Message]:
        """Return the events. The id of each is the same however often it is published."""
        if not self.outcome.events or self.received.headers.get(wire.DRY_RUN):
            return []
        return [_event(self.received, event, index, names) for index, event in enumerate(self.outcome.events)]


def parked(event: Message, names: wire.Names) -> Message:
    """Return the event for the parking queue: the broker publishes it again until each bound queue has taken it."""
    return replace(event, exchange=names.parked, mandatory=True)


def failure(outcome: Outcome) -> str:
    """Return the reason of a failure, without the text of the exception, which may quote the request."""
    error = outcome.error
    if error is None or outcome.state is not State.FAILED:
        return str(error or "")
    return locate(error)


def _event(received: Received[Any], event: Event, index: int, names: wire.Names) -> Message:
    message_id, sender = received.delivery.properties.message_id, received.sender
    correlation_id, traceparent = received.correlation_id, received.traceparent
    origin = f"{sender}\0{message_id}\0{index}\0{event.name}\0".encode() + event.body
    event_id = _uuid5(origin) if message_id else str(uuid.uuid4())
    headers = {
        f"{wire.CLOUD_EVENT}id": event_id,
        f"{wire.CLOUD_EVENT}type": event.name,
        f"{wire.CLOUD_EVENT}source": f"/{names.service}",
        f"{wire.CLOUD_EVENT}subject": event.subject or None,  # CloudEvents 1.0: absent rather than empty
        f"{wire.CLOUD_EVENT}time": event.time,
        f"{wire.CLOUD_EVENT}specversion": "1.0",
        wire.ENTITY_VERSION: event.version,
        wire.CAUSATION_ID: message_id or None,
        wire.TRACEPARENT: traceparent,
    }
    properties = Properties(
        content_type=wire.JSON,
        message_type=event.name,
        message_id=event_id,
        correlation_id=correlation_id,
        delivery_mode=PERSISTENT,
        headers={name: value for name, value in headers.items() if value is not None},
    )
    return Message(names.events, event.name, event.body, properties)


def _uuid5(origin: bytes) -> str:
    """Return ``uuid.uuid5`` of bytes in our namespace (RFC 9562), without the objects that it makes in between."""
    digest = bytearray(hashlib.sha1(_EVENT_IDS.bytes + origin, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
