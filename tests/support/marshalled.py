"""AMQP marshalled by hand: whatever bytes a client library would refuse to send."""

import struct
from collections.abc import Mapping

from pamqp.commands import Basic
from pamqp.header import ContentHeader

NAMES = Basic.Properties.__slots__


def short(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def table(*entries: bytes) -> bytes:
    return struct.pack(">I", len(b"".join(entries))) + b"".join(entries)


def nested(depth: int) -> bytes:
    inner = table()
    for _ in range(depth):
        inner = table(short(b"n") + b"F" + inner)
    return inner


def payload(pieces: Mapping[str, bytes], size: int = 5) -> bytes:
    """A content header with these properties, whatever they hold."""
    flags = sum(Basic.Properties.flags[name] for name in pieces)
    return struct.pack(">HHQH", 60, 0, size, flags) + b"".join(pieces[name] for name in NAMES if name in pieces)


class Header(ContentHeader):
    """A content header of whatever bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def marshal(self) -> bytes:
        return self._data


class Publish(Basic.Publish):
    """To a routing key of whatever bytes."""

    def __init__(self, exchange: str, routing_key: bytes) -> None:
        super().__init__(exchange=exchange)
        self._key = routing_key

    def marshal(self) -> bytes:
        return super().marshal()[:-2] + short(self._key) + b"\0"
