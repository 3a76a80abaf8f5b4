"""A channel that publishes batches: messages in one write, their confirms counted by tag.

It goes past aiormq's own counting of delivery tags: nobody else may publish on such a channel.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

from src.amqp import assembling, encoding, frames, sanitizing
from src.amqp.frames import Message

WRITE_SIZE = 1024 * 1024  # bytes that are written before the socket must have taken them


class Result(Enum):
    TAKEN = auto()
    REFUSED = auto()  # returned, nacked or not confirmed in time
    MISSING = auto()  # its exchange is not there
    UNKNOWN = auto()  # its connection was lost: nobody knows, and nobody is to blame


class PendingConfirms:
    """Messages of consecutive delivery tags from ``first`` on, and what the broker has said of each."""

    def __init__(self, first: int, ids: Sequence[str | None]) -> None:
        self.first = first
        self.results: list[Result | None] = [None] * len(ids)
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ids = ids
        self._returned: set[int] = set()
        self._left = len(ids)
        self._settled = 0  # all before it are settled

    @property
    def last(self) -> int:
        return self.first + len(self.results) - 1

    def settle(self, tag: int, result: Result, *, multiple: bool) -> None:
        """The broker has answered for a tag, or for all up to it."""
        end = min(tag, self.last) - self.first + 1
        for index in range(self._settled if multiple else end - 1, end):
            if self.results[index] is None:
                self.results[index] = Result.REFUSED if index in self._returned else result
                self._left -= 1
        if multiple:
            self._settled = max(self._settled, end)
        if not self._left and not self.answered.done():
            self.answered.set_result(None)

    def give_back(self, message_id: str | None) -> bool:
        """Whether one of the messages has this id, and is returned; its ack comes after."""
        found = (
            index for index, own in enumerate(self._ids) if (own or None) == message_id and index not in self._returned
        )
        index = next(found, None)
        if index is None:
            return False
        self._returned.add(index)
        return True


class ConfirmChannel:
    """A channel on which nobody else publishes, so that delivery tags can be counted here."""

    channel: Channel

    def __init__(self) -> None:
        self._next = 1
        self._waiting: deque[PendingConfirms] = deque()
        self._writing = asyncio.Lock()
        self._returning = assembling.ContentAssembler(limit=0)

    async def send(self, messages: Sequence[Message]) -> PendingConfirms:
        """Write them all; ``answered`` is done when the broker has answered for each."""
        async with self._writing:
            sent = PendingConfirms(self._next, [message.properties.message_id for message in messages])
            self._next += len(messages)
            self._waiting.append(sent)
            closed = self.channel.closing
            for written in _written(self.channel, messages):
                if not closed.done():
                    await self._write(written, closed)
            closed.cancel()  # an observer of our own
            return sent

    def take(self, kind: int, payload: bytes) -> bool:
        """The tap of the channel: confirms and returns."""
        if kind != frames.METHOD:
            return self._take_returned(kind, payload)
        match payload[:4]:
            case frames.ACK:
                self._settle(payload, Result.TAKEN)
            case frames.NACK:
                self._settle(payload, Result.REFUSED)
            case frames.RETURN:
                self._returning.begin(payload)
            case _:
                return False
        return True

    async def _write(self, written: bytes, closed: asyncio.Future[None]) -> None:
        """Hand the bytes over; return when the socket has taken them where they are many, or the channel is closed."""
        queue, drained = self.channel.write_queue, asyncio.get_running_loop().create_future()
        large = len(written) >= WRITE_SIZE
        frame = ChannelFrame(written, should_close=False, drain_future=drained if large else None)
        try:
            queue.put_nowait(frame)
        except asyncio.QueueFull:  # that of a dead connection is never emptied
            putting = asyncio.ensure_future(queue.put(frame))
            await asyncio.wait({putting, closed}, return_when=asyncio.FIRST_COMPLETED)
            putting.cancel()
        if large:
            await asyncio.wait({drained, closed}, return_when=asyncio.FIRST_COMPLETED)

    def _take_returned(self, kind: int, payload: bytes) -> bool:
        returning = self._returning
        if not returning.method:
            return False
        if returning.add(kind, payload):
            returning.method = b""
            message_id = sanitizing.properties(returning.header).message_id
            next((sent for sent in self._waiting if sent.give_back(message_id)), None)
        return True

    def _settle(self, payload: bytes, result: Result) -> None:
        tag, multiple = assembling.confirmed(payload)
        for sent in self._waiting:
            if sent.first <= tag and (multiple or tag <= sent.last):
                sent.settle(tag, result, multiple=multiple)
        while self._waiting and self._waiting[0].answered.done():
            self._waiting.popleft()


def _written(channel: Channel, messages: Sequence[Message]) -> Iterator[bytes]:
    """The frames of the messages, in pieces of about ``WRITE_SIZE`` bytes."""
    pieces: list[bytes] = []
    size, limit = 0, channel.max_content_size
    for message in messages:
        pieces.append(encoding.publish(channel.number, message.exchange, message.routing_key, message.mandatory))
        pieces += encoding.content(channel.number, message.properties, message.body, limit if limit > 0 else WRITE_SIZE)
        size += len(message.body)
        if size >= WRITE_SIZE:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)
