"""Assemble method, header and body frames into deliveries and returned messages."""

from collections.abc import Callable

from src.amqp.frames import DELIVER, HEADER, METHOD, Delivery
from src.amqp.sanitizing import properties, text


class ContentAssembler:
    """Assembles the frames of one message at a time. Keeps ``limit`` bytes of a body, and counts the others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.method = b""  # of the message that is incomplete, or empty
        self.header = b""
        self.size = 0
        self._chunks: list[bytes] = []
        self._missing = self._room = 0

    @property
    def body(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def begin(self, method: bytes) -> None:
        """Begin a message with its method frame."""
        self.method, self.header, self._chunks, self._room = method, b"", [], self._limit

    def add(self, kind: int, payload: bytes) -> bool:
        """Add a header or body frame. Return whether the message is complete."""
        if kind == HEADER:
            self.header = payload
            self.size = self._missing = int.from_bytes(payload[4:12])
        else:
            self._missing -= len(payload)
            if self._room > 0:
                self._chunks.append(payload if len(payload) <= self._room else payload[: self._room])
                self._room -= len(payload)
        return self._missing <= 0


class DeliveryAssembler:
    """A frame handler that passes on each delivery once it is complete."""

    def __init__(self, on_delivery: Callable[[Delivery], None], limit: int) -> None:
        self._on_delivery = on_delivery
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
            header, body = contents.header, contents.body
            tag, redelivered, routing_key = _decode_deliver(method)
            described = properties(header)
            self._on_delivery(Delivery(tag, routing_key, described, body, contents.size, redelivered, len(header)))
        return True


def _decode_deliver(method: bytes) -> tuple[int, bool, str]:
    """Decode a deliver method: its delivery tag, redelivered flag and routing key."""
    at = 5 + method[4]  # after the consumer tag
    tag, redelivered = int.from_bytes(method[at : at + 8]), method[at + 8] == 1
    at += 10 + method[at + 9]  # after the exchange
    return tag, redelivered, text(method[at + 1 : at + 1 + method[at]])
