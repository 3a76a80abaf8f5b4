"""RabbitMQ out: messages published together, persistent, in one write, their confirms counted by tag.

A channel that publishes this way goes past aiormq's own counting of delivery tags: nobody else may publish on it.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import AMQPChannelError

from src import pauses, wire
from src.amqp import frames
from src.amqp.connections import LOST, Outbound, told_to_end
from src.amqp.outgoing import Message

log = logging.getLogger(__name__)

CONFIRM_TIMEOUT = 10  # seconds
ROUND_TRIP = 5  # seconds that a broker may take to answer
WRITE_SIZE = 1024 * 1024  # bytes that are written before the socket must have taken them


@dataclass(frozen=True, slots=True)
class Tries:
    """A refused message is tried again for ``seconds``; one whose connection is lost with it, up to ``losses`` times.

    A loss is that of the connection while the message is on its way: nobody knows whether the broker has it.
    """

    seconds: float
    losses: float = math.inf


ONCE = Tries(seconds=0, losses=3)
"""A refused message is given up, and one whose connection was lost three times: it may be what kills it."""

FOREVER = Tries(seconds=math.inf)


class _Result(Enum):
    TAKEN = auto()
    REFUSED = auto()  # returned, nacked, not confirmed in time, or its exchange is missing
    UNKNOWN = auto()  # its connection was lost: nobody knows, and nobody is to blame


class _Effort:
    """What is left of the tries."""

    def __init__(self, tries: Tries) -> None:
        self._seconds = tries.seconds
        self._losses = tries.losses

    def spend(self, results: Sequence[_Result], seconds: float) -> None:
        """An attempt that took so long had these results."""
        if _Result.REFUSED in results:
            self._seconds -= seconds
        if _Result.UNKNOWN in results:
            self._losses -= 1

    def again(self, result: _Result) -> bool:
        """Whether a message of which this became is published again."""
        match result:
            case _Result.TAKEN:
                return False
            case _Result.REFUSED:
                return self._seconds > 0
            case _Result.UNKNOWN:
                return self._losses > 0
            case _:
                assert_never(result)


class Publisher:
    """Publishes over a connection of its own, for a broker short of memory stops reading from those that publish.

    Each exchange has its own channel: to publish to one that is missing closes the channel, and must not take others
    with it.
    """

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._outlets: dict[str, Outlet] = {}
        self._opening = asyncio.Lock()

    async def publish(self, messages: Sequence[Message], tries: Tries) -> list[bool]:
        """Whether the broker has taken each message. While the connection is down or blocked this waits."""
        clock, effort, taken = asyncio.get_running_loop().time, _Effort(tries), [False] * len(messages)
        pending = list(range(len(messages)))
        pausing = pauses.growing(first=0.1, longest=2)
        apart = False
        while pending:
            await self._outbound.ready()
            begun, attempted = clock(), [messages[index] for index in pending]
            results = await (self._attempt_apart(attempted, tries) if apart else self._attempt(attempted))
            apart = apart or _Result.UNKNOWN in results
            for index, result in zip(pending, results, strict=True):
                taken[index] = result is _Result.TAKEN
            if failed := len(pending) - results.count(_Result.TAKEN):
                log.warning("%d of %d messages were refused or lost with the connection", failed, len(pending))
            pause = next(pausing)
            effort.spend(results, clock() - begun + pause)
            pending = [index for index, result in zip(pending, results, strict=True) if effort.again(result)]
            if pending:
                await asyncio.sleep(pause)
        return taken

    async def _attempt_apart(self, messages: Sequence[Message], tries: Tries) -> list[_Result]:
        """Publish one after the other: the one that closes the channel, or kills the connection, takes none along.

        Direct replies that are tried once are given up after some losses: an address that nobody has kills each time.
        """
        results: list[_Result] = []
        for message in messages:
            direct = not message.exchange and message.routing_key.startswith(wire.DIRECT_REPLY_TO)
            if direct and results.count(_Result.UNKNOWN) >= tries.losses:
                results.append(_Result.REFUSED)
            else:
                results += await self._attempt([message])
        return results

    async def _attempt(self, messages: Sequence[Message]) -> list[_Result]:
        """Publish once, all exchanges side by side."""
        exchanges = list(dict.fromkeys(message.exchange for message in messages))
        groups = [[message for message in messages if message.exchange == exchange] for exchange in exchanges]
        found = await asyncio.gather(*map(self._send, exchanges, groups))
        results = {exchange: iter(of_exchange) for exchange, of_exchange in zip(exchanges, found, strict=True)}
        return [next(results[message.exchange]) for message in messages]

    async def _send(self, exchange: str, messages: Sequence[Message]) -> list[_Result]:
        try:
            outlet = await self._outlet(exchange)
            sent = await outlet.send(messages)
        except LOST:
            return [_Result.UNKNOWN] * len(messages)
        except asyncio.CancelledError:
            if told_to_end():
                raise
            return [_Result.UNKNOWN] * len(messages)
        closed, ended = outlet.channel.closing, asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait({sent.answered, closed}, timeout=CONFIRM_TIMEOUT, return_when=ended)
            unanswered = _Result.TAKEN if sent.answered.done() else await self._blame(closed, len(messages))
        finally:
            closed.cancel()  # an observer of our own
        return [result or unanswered for result in sent.results]

    async def _blame(self, closed: asyncio.Future[None], count: int) -> _Result:
        """What became of messages that the broker did not answer for. Of several one has closed the channel: which?"""
        if closed.done():
            refused = count == 1 and not closed.cancelled() and isinstance(closed.exception(), AMQPChannelError)
        else:
            refused = await self._is_up()
        return _Result.REFUSED if refused else _Result.UNKNOWN

    async def _is_up(self) -> bool:
        """Ask the broker: a connection that is blocked or dead confirms nothing, and nobody has refused anything."""
        try:
            async with asyncio.timeout(ROUND_TRIP):
                channel = await self._outbound.open_channel()
                await channel.close()
        except LOST:
            return False
        except asyncio.CancelledError:
            if told_to_end():
                raise
            return False
        return True

    async def _outlet(self, exchange: str) -> "Outlet":
        async with self._opening:
            outlet = self._outlets.get(exchange)
            if outlet is None or outlet.channel.is_closed:
                outlet = Outlet()
                outlet.channel = await self._outbound.open_channel(outlet.take)
                self._outlets[exchange] = outlet
            return outlet


class Sent:
    """Messages of consecutive delivery tags from ``first`` on, and what the broker has said of each."""

    def __init__(self, first: int, ids: Sequence[str | None]) -> None:
        self.first = first
        self.results: list[_Result | None] = [None] * len(ids)
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ids = ids
        self._returned: set[int] = set()
        self._left = len(ids)
        self._settled = 0  # all before it are settled

    @property
    def last(self) -> int:
        return self.first + len(self.results) - 1

    def settle(self, tag: int, result: _Result, *, multiple: bool) -> None:
        """The broker has answered for a tag, or for all up to it."""
        end = min(tag, self.last) - self.first + 1
        for index in range(self._settled if multiple else end - 1, end):
            if self.results[index] is None:
                self.results[index] = _Result.REFUSED if index in self._returned else result
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


class Outlet:
    """A channel on which nobody else publishes, so that delivery tags can be counted here."""

    channel: Channel

    def __init__(self) -> None:
        self._next = 1
        self._waiting: deque[Sent] = deque()
        self._writing = asyncio.Lock()
        self._returning = frames.Contents(limit=0)

    async def send(self, messages: Sequence[Message]) -> Sent:
        """Write them all; ``answered`` is done when the broker has answered for each."""
        async with self._writing:
            sent = Sent(self._next, [message.properties.message_id for message in messages])
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
                self._settle(payload, _Result.TAKEN)
            case frames.NACK:
                self._settle(payload, _Result.REFUSED)
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
            message_id = frames.properties(returning.header).message_id
            next((sent for sent in self._waiting if sent.give_back(message_id)), None)
        return True

    def _settle(self, payload: bytes, result: _Result) -> None:
        tag, multiple = frames.confirmed(payload)
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
        pieces.append(frames.publish(channel.number, message.exchange, message.routing_key, message.mandatory))
        pieces += frames.content(channel.number, message.properties, message.body, limit if limit > 0 else WRITE_SIZE)
        size += len(message.body)
        if size >= WRITE_SIZE:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)
