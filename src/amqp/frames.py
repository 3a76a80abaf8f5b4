"""Connections that survive what pamqp cannot decode.

A single property can end a consumer for good: a timestamp beyond the year 9999, a header key that is not UTF-8 or
thousands of nested tables raise inside the connection's reader, before any handler, and again after each reconnect.
Here the content header of every message is looked at before pamqp sees it. One that would raise is written anew with
the properties that are sound, and with the header ``undecodable`` that names the others.
Checked against pamqp 4.0 and aiormq 7.2 at the level of frames in ``tests/test_frames.py``.
"""

import asyncio
import struct
from typing import Any, cast

import aiormq.connection
from pamqp import constants, encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from yarl import URL

UNDECODABLE = "undecodable"

_FRAME = struct.Struct(">BHI")  # type, channel, size of the payload
_PROPERTIES = Basic.Properties.__slots__
_FLAGS = Basic.Properties.flags
_KINDS = {name: Basic.Properties.amqp_type(name) for name in _PROPERTIES}
_LAYOUTS: dict[bytes, tuple[int | None, ...]] = {  # sizes of the arguments up to the last string, None a short string
    b"\0\x3c\0\x3c": (None, 9, None, None),  # Basic.Deliver: consumer tag; delivery tag, redelivered; exchange; key
    b"\0\x3c\0\x32": (2, None, None, None),  # Basic.Return: reply code; reply text; exchange; key
    b"\0\x3c\0\x47": (9, None, None),  # Basic.GetOk: delivery tag, redelivered; exchange; key
}
_CHECKED = ("headers", "expiration", "timestamp")  # these can be wrong in more ways than one byte shows
_PLAIN = sum(flag for name, flag in _FLAGS.items() if name not in _CHECKED)


def tolerable(payload: bytes) -> bytes:
    """The payload of a content header frame, written anew where it does not decode."""
    if _is_plain(payload):
        return payload
    try:
        header = ContentHeader()
        header.unmarshal(payload)
    except Exception:  # whatever pamqp raises would end the connection: ValueError, OverflowError, RecursionError …
        return _salvage(payload)
    properties = header.properties
    expiration = properties.expiration
    if properties.delivery_mode not in (None, 1, 2) or not (expiration is None or expiration.isdecimal()):
        return _salvage(payload)
    return payload


def _is_plain(payload: bytes) -> bool:
    """Short strings in ASCII and a delivery mode: they always decode, and need no second decoding to know it."""
    flags, offset = int.from_bytes(payload[12:14]), 14
    if flags & ~_PLAIN or not payload[offset:].isascii():
        return False
    for name, kind in _KINDS.items():
        if not flags & _FLAGS[name]:
            continue
        if offset >= len(payload) or (name == "delivery_mode" and payload[offset] not in (1, 2)):
            return False
        offset += 1 if kind == "octet" else 1 + payload[offset]
    return offset <= len(payload)


def _salvage(payload: bytes) -> bytes:
    """Keep each property that decodes alone; ``headers`` give way to the one that says what was lost."""
    flags, offset = int.from_bytes(payload[12:14]), 14
    kept_flags, kept, lost = _FLAGS["headers"], {}, []
    for name, kind in _KINDS.items():
        if not flags & _FLAGS[name]:
            continue
        size = _size(kind, payload[offset:])
        piece = payload[offset : offset + size]
        offset += size
        if name == "headers":
            continue
        if len(piece) == size and _decodes(name, piece):
            kept_flags |= _FLAGS[name]
            kept[name] = piece
        else:
            lost.append(name)
    kept["headers"] = encode.field_table({UNDECODABLE: ", ".join(lost or ["headers"])})
    pieces = [kept[name] for name in _PROPERTIES if name in kept]
    return payload[:12] + kept_flags.to_bytes(2) + b"".join(pieces)


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
    properties = Basic.Properties()
    try:
        properties.unmarshal(_FLAGS[name], piece)
    except Exception:  # the same question as in tolerable(), asked of one property
        return False
    match name:
        case "delivery_mode":
            return properties.delivery_mode in (1, 2)
        case "expiration":
            return str(properties.expiration).isdecimal()
        case _:
            return True


def tolerable_method(payload: bytes) -> bytes:
    """The payload of a method frame. A routing key that is not UTF-8 (RabbitMQ takes some) is written in escapes."""
    layout = _LAYOUTS.get(payload[:4])
    if layout is None:
        return payload
    pieces, offset = [payload[:4]], 4
    for size in layout:
        if size is None:
            text = payload[offset + 1 : offset + 1 + payload[offset]]
            offset += 1 + len(text)
            pieces.append(_short(text if text.isascii() else text.decode(errors="backslashreplace").encode()))
        else:
            pieces.append(payload[offset : offset + size])
            offset += size
    return b"".join(pieces) + payload[offset:]


def _short(text: bytes) -> bytes:
    """A short string of at most 255 bytes, which end where a character ends: half of one would not decode."""
    whole = text[:255].decode(errors="ignore").encode()
    return len(whole).to_bytes() + whole


class TolerantReader:
    """The ``StreamReader`` that aiormq reads frames from: seven bytes of frame header, then the payload and its end."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._ready = b""  # bytes of the current frame not yet handed over
        self._coming = 0  # bytes of the current frame not yet read

    def at_eof(self) -> bool:
        return not self._ready and self._reader.at_eof()

    async def read(self, n: int = -1) -> bytes:
        return await self._reader.read(n)

    async def readexactly(self, n: int) -> bytes:
        if not self._ready:
            if self._coming:
                self._coming -= n
                return await self._reader.readexactly(n)
            self._ready = await self._begin_frame()
        piece, self._ready = self._ready[:n], self._ready[n:]
        return piece

    async def _begin_frame(self) -> bytes:
        head = await self._reader.readexactly(_FRAME.size)
        kind, channel, size = _FRAME.unpack(head)
        check = _CHECKS.get(kind)
        if check is None or head.startswith(constants.AMQP):
            self._coming = size + 1
            return head
        payload = check((await self._reader.readexactly(size + 1))[:-1])
        return _FRAME.pack(kind, channel, len(payload)) + payload + constants.FRAME_END_CHAR


_CHECKS = {constants.FRAME_METHOD: tolerable_method, constants.FRAME_HEADER: tolerable}


class TolerantTransport(aiormq.connection.TransportFactory):
    """TCP or TLS, as the URL says, read through a ``TolerantReader``."""

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = url.scheme == "amqps"
        inner = aiormq.connection.TLSTransportFactory() if tls else aiormq.connection.TCPTransportFactory()
        reader, writer = await inner.create(url, **kwargs)
        return cast("asyncio.StreamReader", TolerantReader(reader)), writer
