"""The frames of AMQP 0-9-1 that this package reads and writes itself, and the types of their contents.

Past aiormq go deliveries, returns and confirms (``assembling.py``) and publishes (``encoding.py``). ``sanitizing.py``
checks the bytes that aiormq and pamqp decode.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pamqp import constants
from pamqp.commands import Basic

UNDECODABLE = "undecodable"
METHOD, HEADER, BODY = constants.FRAME_METHOD, constants.FRAME_HEADER, constants.FRAME_BODY
HEARTBEAT = constants.FRAME_HEARTBEAT
PUBLISH, RETURN, DELIVER, GET_OK = b"\0\x3c\0\x28", b"\0\x3c\0\x32", b"\0\x3c\0\x3c", b"\0\x3c\0\x47"
OPEN_OK, CLOSE = b"\0\x0a\0\x29", b"\0\x0a\0\x32"
BLOCKED, UNBLOCKED = b"\0\x0a\0\x3c", b"\0\x0a\0\x3d"
ACK, NACK = b"\0\x3c\0\x50", b"\0\x3c\0\x78"

type FrameHandler = Callable[[int, bytes], bool]
"""Handle a frame of a channel, given its type and payload. Return whether aiormq is not to get it. Never raises."""

HEAD = struct.Struct(">BHI")  # a frame's type, channel and payload size
END: bytes = constants.FRAME_END_CHAR
NAMES = Basic.Properties.__slots__  # in the order of the protocol
FLAGS = Basic.Properties.flags
KINDS = {name: Basic.Properties.amqp_type(name) for name in NAMES}


@dataclass(slots=True)
class Properties:
    """The properties of a message; None where it does not have one."""

    content_type: str | None = None
    content_encoding: str | None = None
    headers: dict[str, Any] | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: datetime | None = None
    message_type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    cluster_id: str | None = None


@dataclass(slots=True)
class Delivery:
    """A message as the broker delivered it. ``body`` may be the beginning of a body of ``size`` bytes."""

    tag: int
    routing_key: str
    properties: Properties
    body: bytes
    size: int
    redelivered: bool = False
    header_size: int = 0
    arrived: float = 0.0  # by the monotonic clock

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.properties.headers or {}


@dataclass(slots=True)
class Message:
    """A message to publish."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Properties
    mandatory: bool = False


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Encode a frame."""
    return HEAD.pack(kind, channel, len(payload)) + payload + END
