"""Decode or rewrite the bytes that strangers write into messages, so that no message can end a connection.

A timestamp beyond the year 9999, a header key that is not UTF-8 or thousands of nested tables raise inside pamqp, in
aiormq's reader, and again after each reconnect. This module checks each header and method frame before aiormq decodes
it. It rewrites a frame that would raise: it keeps the properties that decode, and the header ``undecodable`` names the
others. ``tests/amqp/test_frames.py`` checks this against the frames of pamqp 4.0 and aiormq 7.2.
"""

from functools import lru_cache
from typing import Any

from pamqp import encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from .encoding import short_string
from .frames import DELIVER, FLAGS, GET_OK, KINDS, NAMES, RETURN, UNDECODABLE, Properties

_HARD = ("headers", "expiration", "timestamp")  # they can fail to decode in many ways
_PLAIN = sum(flag for name, flag in FLAGS.items() if name not in _HARD)
_LAYOUTS: dict[bytes, tuple[int | None, ...]] = {  # sizes of the arguments up to the last string, None a short string
    DELIVER: (None, 9, None, None),  # consumer tag; delivery tag, redelivered; exchange; routing key
    RETURN: (2, None, None, None),  # reply code; reply text; exchange; routing key
    GET_OK: (9, None, None),  # delivery tag, redelivered; exchange; routing key
    **dict.fromkeys((b"\0\x0a\0\x32", b"\0\x14\0\x28"), (2, None)),  # connection and channel close: code; text
    **dict.fromkeys((b"\0\x0a\0\x29", b"\0\x0a\0\x3c", b"\0\x32\0\x0b"), (None,)),  # open-ok, blocked, declare-ok
    **dict.fromkeys((b"\0\x3c\0\x15", b"\0\x3c\0\x1e", b"\0\x3c\0\x1f", b"\0\x3c\0\x48"), (None,)),  # consume-ok,
}  # cancel, cancel-ok, get-empty


def properties(payload: bytes) -> Properties:
    """Decode a content header. If it does not decode, return what does, and the header ``undecodable``."""
    plain = _plain(payload)
    if plain is not None:
        return Properties(**plain)
    found = _decoded(payload) or _decoded(_salvage(payload))
    values: dict[str, Any] = {name: found[name] for name in NAMES} if found else {"headers": {UNDECODABLE: "all"}}
    return Properties(**values)


def sanitize_header(payload: bytes) -> bytes:
    """Return the payload of a content header frame, rewritten if it does not decode."""
    return payload if _plain(payload) is not None or _decoded(payload) else _salvage(payload)


def sanitize_method(payload: bytes) -> bytes:
    """Return the payload of a method frame, with escapes for bytes that are not UTF-8; routing keys may hold them."""
    layout = _LAYOUTS.get(payload[:4])
    if layout is None:
        return payload
    pieces, offset = [payload[:4]], 4
    for size in layout:
        if size is None:
            length = int.from_bytes(payload[offset : offset + 1])
            pieces.append(short_string(text(payload[offset + 1 : offset + 1 + length])))
            offset += 1 + length
        else:
            pieces.append(payload[offset : offset + size])
            offset += size
    return b"".join(pieces) + payload[offset:]


def text(data: bytes) -> str:
    """Decode a short string. Escape bytes that are not UTF-8, and then cut the text to 255 bytes between characters."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="backslashreplace").encode()[:255].decode(errors="ignore")


@lru_cache(1024)
def _layout(flags: int) -> tuple[tuple[str, bool], ...] | None:
    """Return the present properties, each with whether it is an octet; None if one needs pamqp."""
    if flags & ~_PLAIN:
        return None
    return tuple((name, kind == "octet") for name, kind in KINDS.items() if flags & FLAGS[name])


def _plain(payload: bytes) -> dict[str, Any] | None:
    """Decode a content header that has only short strings and octets; None for any other or an invalid one."""
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
    """Decode a content header by pamqp; None if pamqp raises or a property has an invalid value."""
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
    """Rewrite a content header with each property that decodes by itself, and a table with ``undecodable`` alone."""
    flags, at = int.from_bytes(payload[12:14]), 14
    kept_flags, kept, lost = FLAGS["headers"], {}, []
    for name, kind in KINDS.items():
        if not flags & FLAGS[name]:
            continue
        size = _size(kind, payload[at:])
        piece = payload[at : at + size]
        at += size
        if name == "headers":
            continue
        if len(piece) == size and _decodes(name, piece):
            kept_flags |= FLAGS[name]
            kept[name] = piece
        else:
            lost.append(name)
    kept["headers"] = encode.field_table({UNDECODABLE: ", ".join(lost or ["headers"])})
    pieces = [kept[name] for name in NAMES if name in kept]
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
        alone.unmarshal(FLAGS[name], piece)
    except Exception:  # as in _decoded()
        return False
    return _sound(alone)
