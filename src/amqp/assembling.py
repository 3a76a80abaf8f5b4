"""Assemble method, header and body frames into deliveries and returned messages."""

import struct
from collections.abc import Callable

from src.amqp.frames import DELIVER, HEADER, METHOD, Delivery
from src.amqp.sanitizing import properties, text

_CONFIRM = struct.Struct(">QB")  # delivery tag, multiple


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


def _delivered(method: bytes) -> tuple[int, bool, str]:
    """Delivery tag, whether it is a redelivery, and routing key."""
    at = 5 + method[4]  # after the consumer tag
    tag, redelivered = int.from_bytes(method[at : at + 8]), method[at + 8] == 1
    at += 10 + method[at + 9]  # after the exchange
    return tag, redelivered, text(method[at + 1 : at + 1 + method[at]])
