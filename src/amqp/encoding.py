"""Encode the frames that publish a message.

pamqp encodes timestamps and those table values that are not strings.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pamqp import encode
from pamqp.commands import Basic

from .frames import BODY, END, FLAGS, HEAD, HEADER, KINDS, METHOD, PUBLISH, Properties, frame

_HEADER = struct.Struct(">BHIHHQH")  # type, channel, size of the payload; class, weight, size of the body, flags
_SIZE = struct.Struct(">I")
_WRITTEN = tuple((name, kind, FLAGS[name]) for name, kind in KINDS.items())


@lru_cache(4096)
def publish(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - by the cache
    """Encode the method frame that publishes a message."""
    method = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return frame(METHOD, channel, PUBLISH + method.marshal())


def content(channel: int, given: Properties, body: bytes, limit: int) -> list[bytes]:
    """Encode the header frame of a message, and its body frames of at most ``limit`` bytes each."""
    flags, written = _encoded(given)
    encoded = [_HEADER.pack(HEADER, channel, 14 + len(written), 60, 0, len(body), flags), written, END]
    for begin in range(0, len(body), limit):
        chunk = body[begin : begin + limit] if len(body) > limit else body
        encoded += (HEAD.pack(BODY, channel, len(chunk)), chunk, END)
    return encoded


def _encoded(given: Properties) -> tuple[int, bytes]:
    flags = 0
    encoded: list[bytes] = []
    for name, kind, flag in _WRITTEN:
        value = getattr(given, name)
        if value is None or value == "":
            continue
        flags |= flag
        match kind:
            case "shortstr":
                encoded.append(short_string(value))
            case "table":
                encoded.append(_table(value))
            case "octet":
                encoded.append(value.to_bytes())
            case _:
                encoded.append(encode.by_type(value, kind))
    return flags, b"".join(encoded)


def short_string(text: str) -> bytes:
    """Encode a short string. Raises ValueError if it has more than 255 bytes."""
    data = text.encode()
    return len(data).to_bytes() + data if len(data) < 256 else encode.short_string(text)  # noqa: PLR2004 - a byte's


@lru_cache(256)
def _key(name: str) -> bytes:
    return encode.short_string(name)


@lru_cache(1024)
def _integer(value: int) -> bytes:
    return encode.encode_table_value(value)


def _table(values: Mapping[str, Any]) -> bytes:
    """Encode a field table with its keys sorted. pamqp encodes the values that are not strings."""
    encoded: list[bytes] = []
    for name, value in sorted(values.items()):
        if type(value) is str:
            data = value.encode()
            encoded += (_key(name), b"S", _SIZE.pack(len(data)), data)
        else:
            encoded += (_key(name), _integer(value) if type(value) is int else encode.encode_table_value(value))
    written = b"".join(encoded)
    return _SIZE.pack(len(written)) + written
