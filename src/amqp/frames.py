"""The bytes of AMQP 0-9-1 that are read and written here, and not by aiormq.

Read: what is delivered, returned and confirmed. Written: what is published. Every property that is not plain goes
through pamqp.

No message may end a connection: a timestamp beyond the year 9999, a header key that is not UTF-8 or thousands of nested
tables raise inside pamqp, in aiormq's reader, and again after each reconnect. So what goes to aiormq is looked at
first. What would raise is written anew with the properties that are sound, and with the header ``undecodable`` that
names the others. Checked against pamqp 4.0 and aiormq 7.2 at the level of frames in ``tests/amqp/test_frames.py``.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from pamqp import constants, encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

UNDECODABLE = "undecodable"
METHOD, HEADER, BODY = constants.FRAME_METHOD, constants.FRAME_HEADER, constants.FRAME_BODY
HEARTBEAT = constants.FRAME_HEARTBEAT
PUBLISH, RETURN, DELIVER, GET_OK = b"\0\x3c\0\x28", b"\0\x3c\0\x32", b"\0\x3c\0\x3c", b"\0\x3c\0\x47"
ACK, NACK = b"\0\x3c\0\x50", b"\0\x3c\0\x78"

type FrameHandler = Callable[[int, bytes], bool]
"""Is given each frame of a channel (its kind and its payload), and says whether it has taken it. It never raises."""

HEAD = struct.Struct(">BHI")  # of a frame: its kind, its channel, the size of its payload
_HEADER = struct.Struct(">BHIHHQH")  # type, channel, size of the payload; class, weight, size of the body, flags
_CONFIRM = struct.Struct(">QB")  # delivery tag, multiple
_SIZE = struct.Struct(">I")
END: bytes = constants.FRAME_END_CHAR
_NAMES = Basic.Properties.__slots__  # in the order in which they are written
_FLAGS = Basic.Properties.flags
_KINDS = {name: Basic.Properties.amqp_type(name) for name in _NAMES}
_WRITTEN = tuple((name, kind, _FLAGS[name]) for name, kind in _KINDS.items())
_HARD = ("headers", "expiration", "timestamp")  # these can be wrong in more ways than one byte shows
_PLAIN = sum(flag for name, flag in _FLAGS.items() if name not in _HARD)
_LAYOUTS: dict[bytes, tuple[int | None, ...]] = {  # sizes of the arguments up to the last string, None a short string
    DELIVER: (None, 9, None, None),  # consumer tag; delivery tag, redelivered; exchange; routing key
    RETURN: (2, None, None, None),  # reply code; reply text; exchange; routing key
    GET_OK: (9, None, None),  # delivery tag, redelivered; exchange; routing key
    **dict.fromkeys((b"\0\x0a\0\x32", b"\0\x14\0\x28"), (2, None)),  # connection and channel close: code; text
    **dict.fromkeys((b"\0\x0a\0\x29", b"\0\x0a\0\x3c", b"\0\x32\0\x0b"), (None,)),  # open-ok, blocked, declare-ok
    **dict.fromkeys((b"\0\x3c\0\x15", b"\0\x3c\0\x1e", b"\0\x3c\0\x1f", b"\0\x3c\0\x48"), (None,)),  # consume-ok,
}  # cancel, cancel-ok, get-empty


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
    """A message as the broker has delivered it. ``body`` may be the beginning only of one that has ``size`` bytes."""

    tag: int
    routing_key: str
    properties: Properties
    body: bytes
    size: int
    redelivered: bool = False
    header_size: int = 0
    arrived: float = 0.0  # when, by the monotonic clock

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.properties.headers or {}


@dataclass(slots=True)
class Message:
    """A message to be published."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Properties
    mandatory: bool = False


class ContentAssembler:
    """Puts the frames of one message together. Of a body ``limit`` bytes are kept, and the others counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.method = b""  # of the message that is coming, empty between two
        self.header = b""
        self.size = 0
        self._pieces: list[bytes] = []
        self._left = self._room = 0

    @property
    def body(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def begin(self, method: bytes) -> None:
        """The method frame that announces a message."""
        self.method, self.header, self._pieces, self._room = method, b"", [], self._limit

    def add(self, kind: int, payload: bytes) -> bool:
        """Whether the message is whole with this frame."""
        if kind == HEADER:
            self.header = payload
            self.size = self._left = int.from_bytes(payload[4:12])
        else:
            self._left -= len(payload)
            if self._room > 0:
                self._pieces.append(payload if len(payload) <= self._room else payload[: self._room])
                self._room -= len(payload)
        return self._left <= 0


class DeliveryAssembler:
    """A tap that hands over each delivery once it is whole."""

    def __init__(self, arrive: Callable[[Delivery], None], limit: int) -> None:
        self._arrive = arrive
        self._contents = ContentAssembler(limit)

    def __call__(self, kind: int, payload: bytes) -> bool:
        contents = self._contents
        if kind == METHOD:
            if payload[:4] != DELIVER:
                return False
            contents.begin(payload)
        elif not contents.method:
            return False
        elif contents.add(kind, payload):
            method, contents.method = contents.method, b""
            tag, redelivered, routing_key = _delivered(method)
            header, body = contents.header, contents.body
            described = properties(header)
            self._arrive(Delivery(tag, routing_key, described, body, contents.size, redelivered, len(header)))
        return True


def confirmed(payload: bytes) -> tuple[int, bool]:
    """The delivery tag of an ack or a nack, and whether it counts for all before as well."""
    tag, bits = _CONFIRM.unpack_from(payload, 4)
    return tag, bool(bits & 1)


def properties(payload: bytes) -> Properties:
    """What a content header says; where it does not decode, what of it is sound, and ``undecodable``."""
    plain = _plain(payload)
    if plain is not None:
        return Properties(**plain)
    found = _decoded(payload) or _decoded(_salvage(payload))
    values: dict[str, Any] = {name: found[name] for name in _NAMES} if found else {"headers": {UNDECODABLE: "all"}}
    return Properties(**values)


def tolerable_header(payload: bytes) -> bytes:
    """The payload of a content header frame, written anew where it does not decode."""
    return payload if _plain(payload) is not None or _decoded(payload) else _salvage(payload)


def tolerable_method(payload: bytes) -> bytes:
    """The payload of a method frame. A string that is not UTF-8 (RabbitMQ takes such routing keys) is in escapes."""
    layout = _LAYOUTS.get(payload[:4])
    if layout is None:
        return payload
    pieces, offset = [payload[:4]], 4
    for size in layout:
        if size is None:
            length = int.from_bytes(payload[offset : offset + 1])
            pieces.append(_short(_text(payload[offset + 1 : offset + 1 + length])))
            offset += 1 + length
        else:
            pieces.append(payload[offset : offset + size])
            offset += size
    return b"".join(pieces) + payload[offset:]


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A whole frame."""
    return HEAD.pack(kind, channel, len(payload)) + payload + END


@lru_cache(4096)
def publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - by the cache
    """The method frame that announces a message."""
    method = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return frame(METHOD, channel, PUBLISH + method.marshal())


def content(channel: int, given: Properties, body: bytes, limit: int) -> list[bytes]:
    """The header frame of a message, and its body frames of at most ``limit`` bytes each."""
    flags, written = _encoded(given)
    pieces = [_HEADER.pack(HEADER, channel, 14 + len(written), 60, 0, len(body), flags), written, END]
    for begin in range(0, len(body), limit):
        piece = body[begin : begin + limit] if len(body) > limit else body
        pieces += (HEAD.pack(BODY, channel, len(piece)), piece, END)
    return pieces


def _encoded(given: Properties) -> tuple[int, bytes]:
    flags = 0
    pieces: list[bytes] = []
    for name, kind, flag in _WRITTEN:
        value = getattr(given, name)
        if value is None or value == "":
            continue
        flags |= flag
        match kind:
            case "shortstr":
                pieces.append(_short(value))
            case "table":
                pieces.append(_table(value))
            case "octet":
                pieces.append(value.to_bytes())
            case _:
                pieces.append(encode.by_type(value, kind))
    return flags, b"".join(pieces)


def _short(text: str) -> bytes:
    """A short string. Raises ValueError where it has more than 255 bytes."""
    data = text.encode()
    return len(data).to_bytes() + data if len(data) < 256 else encode.short_string(text)  # noqa: PLR2004 - a byte's


@lru_cache(256)
def _key(name: str) -> bytes:
    return encode.short_string(name)


@lru_cache(1024)
def _integer(value: int) -> bytes:
    return encode.encode_table_value(value)


def _table(values: Mapping[str, Any]) -> bytes:
    """A field table, its keys sorted. What is no text is pamqp's to write."""
    pieces: list[bytes] = []
    for name, value in sorted(values.items()):
        if type(value) is str:
            data = value.encode()
            pieces += (_key(name), b"S", _SIZE.pack(len(data)), data)
        else:
            pieces += (_key(name), _integer(value) if type(value) is int else encode.encode_table_value(value))
    written = b"".join(pieces)
    return _SIZE.pack(len(written)) + written


def _delivered(method: bytes) -> tuple[int, bool, str]:
    """Delivery tag, whether it is a redelivery, and routing key."""
    at = 5 + method[4]  # after the consumer tag
    tag, redelivered = int.from_bytes(method[at : at + 8]), method[at + 8] == 1
    at += 10 + method[at + 9]  # after the exchange
    return tag, redelivered, _text(method[at + 1 : at + 1 + method[at]])


def _text(data: bytes) -> str:
    """What is no UTF-8 in escapes, and then no longer than a short string, which ends where a character ends."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="backslashreplace").encode()[:255].decode(errors="ignore")


@lru_cache(1024)
def _layout(flags: int) -> tuple[tuple[str, bool], ...] | None:
    """The properties that are there, each with whether it is an octet; None where one is not plain."""
    if flags & ~_PLAIN:
        return None
    return tuple((name, kind == "octet") for name, kind in _KINDS.items() if flags & _FLAGS[name])


def _plain(payload: bytes) -> dict[str, Any] | None:
    """The properties of a content header that has nothing but short strings and octets, all of them sound."""
    layout = _layout(int.from_bytes(payload[12:14]))
    if layout is None:
        return None
    found: dict[str, Any] = {}
    at = 14
    try:
        for name, octet in layout:
            end = at + 1 + (0 if octet else payload[at])
            found[name] = payload[at] if octet else payload[at + 1 : end].decode()
            at = end
    except (IndexError, UnicodeDecodeError):
        return None
    return found if at <= len(payload) and found.get("delivery_mode", 1) in {1, 2} else None


def _decoded(payload: bytes) -> Basic.Properties | None:
    """What pamqp makes of a content header, None where that is nothing or no sound message."""
    header = ContentHeader()
    try:
        header.unmarshal(payload)
    except Exception:  # whatever pamqp raises would end the connection: ValueError, OverflowError, RecursionError …
        return None
    found: Basic.Properties = header.properties
    return found if _sound(found) else None


def _sound(found: Basic.Properties) -> bool:
    return found.delivery_mode in {None, 1, 2} and (found.expiration is None or found.expiration.isdecimal())


def _salvage(payload: bytes) -> bytes:
    """Keep each property that decodes alone; ``headers`` give way to the one that says what was lost."""
    flags, at = int.from_bytes(payload[12:14]), 14
    kept_flags, kept, lost = _FLAGS["headers"], {}, []
    for name, kind in _KINDS.items():
        if not flags & _FLAGS[name]:
            continue
        size = _size(kind, payload[at:])
        piece = payload[at : at + size]
        at += size
        if name == "headers":
            continue
        if len(piece) == size and _decodes(name, piece):
            kept_flags |= _FLAGS[name]
            kept[name] = piece
        else:
            lost.append(name)
    kept["headers"] = encode.field_table({UNDECODABLE: ", ".join(lost or ["headers"])})
    pieces = [kept[name] for name in _NAMES if name in kept]
    return payload[:12].ljust(12, b"\0") + kept_flags.to_bytes(2) + b"".join(pieces)


def _size(kind: str, data: bytes) -> int:
    match kind:
        case "shortstr":
            return 1 + (data[0] if data else 0)
        case "table":
            return 4 + int.from_bytes(data[:4])
        case "timestamp":
            return 8
        case _:
            return 1


def _decodes(name: str, piece: bytes) -> bool:
    alone = Basic.Properties()
    try:
        alone.unmarshal(_FLAGS[name], piece)
    except Exception:  # the same question as in _decoded(), asked of one property
        return False
    return _sound(alone)
