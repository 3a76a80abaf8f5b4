"""A channel that publishes batches of messages in one write and counts their publisher confirms by delivery tag.

aiormq counts delivery tags too, but does not see these messages: nobody may publish on such a channel through aiormq.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

from src.amqp import assembling, encoding, frames, sanitizing
from src.amqp.frames import Message

_CONFIRM = struct.Struct(">QB")  # of an ack or a nack: the delivery tag, and whether all tags before are meant as well

WRITE_SIZE = 1024 * 1024  # bytes of a write after which the channel waits for the socket to drain


class PublishResult(Enum):
    """The result of publishing one message once."""

    CONFIRMED = auto()
    REFUSED = auto()  # returned, nacked or not confirmed in time
    EXCHANGE_MISSING = auto()
    CONNECTION_LOST = auto()  # the broker may have the message


class PendingConfirms:
    """The results of messages with consecutive delivery tags from ``first`` on; ``done`` when the broker sent all."""

    def __init__(self, first: int, ids: Sequence[str | None]) -> None:
        self.first = first
        self.results: list[PublishResult | None] = [None] * len(ids)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ids = ids
        self._returned: set[int] = set()
        self._unconfirmed = len(ids)
        self._settled = 0  # index before which all messages are settled

    @property
    def last(self) -> int:
        return self.first + len(self.results) - 1

    def settle(self, tag: int, result: PublishResult, *, multiple: bool) -> None:
        """Set the result of the message with this tag, or of all up to the tag."""
        end = min(tag, self.last) - self.first + 1
        for index in range(self._settled if multiple else end - 1, end):
            if self.results[index] is None:
                self.results[index] = PublishResult.REFUSED if index in self._returned else result
                self._unconfirmed -= 1
        if multiple:
            self._settled = max(self._settled, end)
        if not self._unconfirmed and not self.done.done():
            self.done.set_result(None)

    def mark_returned(self, message_id: str | None) -> bool:
        """Mark the message with this id as returned; the broker acks it afterwards. Return False if there is none."""
        found = (
            index for index, own in enumerate(self._ids) if (own or None) == message_id and index not in self._returned
        )
        index = next(found, None)
        if index is None:
            return False
        self._returned.add(index)
        return True


class ConfirmChannel:
    """A channel in confirm mode that counts the delivery tags of its messages."""

    channel: Channel

    def __init__(self) -> None:
        self._next_tag = 1
        self._pending: deque[PendingConfirms] = deque()
        self._writing = asyncio.Lock()
        self._return = assembling.ContentAssembler(limit=0)

    async def publish(self, messages: Sequence[Message]) -> PendingConfirms:
        """Write all messages; ``done`` is set when the broker has sent all confirms."""
        async with self._writing:
            sent = PendingConfirms(self._next_tag, [message.properties.message_id for message in messages])
            self._next_tag += len(messages)
            self._pending.append(sent)
            closed = self.channel.closing
            for written in _encode(self.channel, messages):
                if not closed.done():
                    await self._write(written, closed)
            closed.cancel()  # a future of this call's own
            return sent

    def handle_frame(self, kind: int, payload: bytes) -> bool:
        """Handle the confirms and returns of the channel."""
        if kind != frames.METHOD:
            return self._handle_returned_content(kind, payload)
        match payload[:4]:
            case frames.ACK:
                self._settle(payload, PublishResult.CONFIRMED)
            case frames.NACK:
                self._settle(payload, PublishResult.REFUSED)
            case frames.RETURN:
                self._return.begin(payload)
            case _:
                return False
        return True

    async def _write(self, written: bytes, closed: asyncio.Future[None]) -> None:
        """Queue the bytes. After a large write, wait until the socket has drained or the channel is closed."""
        queue, drained = self.channel.write_queue, asyncio.get_running_loop().create_future()
        large = len(written) >= WRITE_SIZE
        frame = ChannelFrame(written, should_close=False, drain_future=drained if large else None)
        try:
            queue.put_nowait(frame)
        except asyncio.QueueFull:  # nothing empties the queue of a dead connection
            putting = asyncio.ensure_future(queue.put(frame))
            await asyncio.wait({putting, closed}, return_when=asyncio.FIRST_COMPLETED)
            putting.cancel()
        if large:
            await asyncio.wait({drained, closed}, return_when=asyncio.FIRST_COMPLETED)

    def _handle_returned_content(self, kind: int, payload: bytes) -> bool:
        returning = self._return
        if not returning.method:
            return False
        if returning.add(kind, payload):
            returning.method = b""
            message_id = sanitizing.properties(returning.header).message_id
            next((sent for sent in self._pending if sent.mark_returned(message_id)), None)
        return True

    def _settle(self, payload: bytes, result: PublishResult) -> None:
        tag, bits = _CONFIRM.unpack_from(payload, 4)
        multiple = bool(bits & 1)
        for sent in self._pending:
            if sent.first <= tag and (multiple or tag <= sent.last):
                sent.settle(tag, result, multiple=multiple)
        while self._pending and self._pending[0].done.done():
            self._pending.popleft()


def _encode(channel: Channel, messages: Sequence[Message]) -> Iterator[bytes]:
    """Yield the frames of the messages, joined into writes of about ``WRITE_SIZE`` bytes."""
    encoded: list[bytes] = []
    size, limit = 0, channel.max_content_size
    for message in messages:
        encoded.append(encoding.publish(channel.number, message.exchange, message.routing_key, message.mandatory))
        encoded += encoding.content(
            channel.number, message.properties, message.body, limit if limit > 0 else WRITE_SIZE
        )
        size += len(message.body)
        if size >= WRITE_SIZE:
            yield b"".join(encoded)
            encoded, size = [], 0
    if encoded:
        yield b"".join(encoded)
