"""A decoded delivery."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src import wire
from src.amqp.frames import Delivery, Properties
from src.processing.request import Decodable, RejectedRequest, Request

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
