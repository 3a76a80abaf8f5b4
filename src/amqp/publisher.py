"""RabbitMQ out: messages published together, persistent, their confirms awaited together."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from aiormq.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import AMQPChannelError, DeliveryError
from pamqp.commands import Basic

from src import pauses
from src.amqp.connections import LOST
from src.amqp.outgoing import Message

log = logging.getLogger(__name__)

CONFIRM_TIMEOUT = 10  # seconds
ROUND_TRIP = 5  # seconds that a broker may take to answer


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a message is published: for how many ``seconds`` it may be refused, and after how many ``losses`` not.

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
    LOST = auto()  # with the connection: nobody knows, and nobody is to blame


class _Effort:
    """What is left of the tries."""

    def __init__(self, tries: Tries) -> None:
        self._seconds = tries.seconds
        self._losses = tries.losses

    def spend(self, results: Sequence[_Result], seconds: float) -> None:
        """An attempt that took so long had these results."""
        if _Result.REFUSED in results:
            self._seconds -= seconds
        if _Result.LOST in results:
            self._losses -= 1

    def again(self, result: _Result) -> bool:
        """Whether a message of which this became is published again."""
        match result:
            case _Result.TAKEN:
                return False
            case _Result.REFUSED:
                return self._seconds > 0
            case _Result.LOST:
                return self._losses > 0
            case _:
                assert_never(result)


class Publisher:
    """Publishes over a connection of its own, for a broker short of memory stops reading from those that publish.

    ``ready`` waits until the broker takes messages, and ``open_channel`` opens a channel on that connection. Each
    exchange has its own: to publish to one that is missing closes the channel, and must not take others with it.
    """

    def __init__(
        self, ready: Callable[[], Awaitable[AbstractConnection]], open_channel: Callable[[], Awaitable[Channel]]
    ) -> None:
        self._ready = ready
        self._open_channel = open_channel
        self._channels: dict[str, Channel] = {}
        self._opening = asyncio.Lock()

    async def publish(self, messages: Sequence[Message], tries: Tries) -> list[bool]:
        """Whether the broker has taken each message. While the connection is down or blocked this waits."""
        clock, effort, taken = asyncio.get_running_loop().time, _Effort(tries), [False] * len(messages)
        pending = list(range(len(messages)))
        pausing = pauses.growing(first=0.1, longest=2)
        while pending:
            connection = await self._ready()
            begun = clock()
            results = await self._attempt(connection, [messages[index] for index in pending])
            for index, result in zip(pending, results, strict=True):
                taken[index] = result is _Result.TAKEN
            pause = next(pausing)
            effort.spend(results, clock() - begun + pause)
            again = [index for index, result in zip(pending, results, strict=True) if effort.again(result)]
            if failed := len(pending) - results.count(_Result.TAKEN):
                log.warning("%d of %d messages were refused or lost with the connection", failed, len(pending))
            if again:
                await asyncio.sleep(pause)
            pending = again
        return taken

    async def _attempt(self, connection: AbstractConnection, messages: Sequence[Message]) -> list[_Result]:
        """Publish once; what still waits when the connection ends would wait for its timeout in vain."""
        publishing = [asyncio.create_task(self._publish(message)) for message in messages]
        done, closing = asyncio.gather(*publishing, return_exceptions=True), connection.closing
        try:
            await asyncio.wait({done, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()  # an observer of our own
            for task in publishing:
                task.cancel()
        return [result if isinstance(result, _Result) else _Result.LOST for result in await done]

    async def _publish(self, message: Message) -> _Result:
        try:
            channel = await self._channel(message.exchange)
            confirmation = await channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                properties=message.properties,
                mandatory=message.mandatory,
                timeout=CONFIRM_TIMEOUT,
                wait=False,
            )
        except TimeoutError:
            return _Result.REFUSED if await self._is_up() else _Result.LOST
        except (DeliveryError, AMQPChannelError):
            return _Result.REFUSED
        except LOST:
            return _Result.LOST
        return _Result.TAKEN if isinstance(confirmation, Basic.Ack) else _Result.REFUSED

    async def _is_up(self) -> bool:
        """Ask the broker: a connection that is blocked or dead confirms nothing, and nobody has refused anything."""
        try:
            async with asyncio.timeout(ROUND_TRIP):
                channel = await self._open_channel()
                await channel.close()
        except LOST:
            return False
        return True

    async def _channel(self, exchange: str) -> Channel:
        channel = self._channels.get(exchange)
        if channel is not None and not channel.is_closed:
            return channel
        async with self._opening:
            channel = self._channels.get(exchange)
            if channel is None or channel.is_closed:
                channel = self._channels[exchange] = await self._open_channel()
            return channel
