"""RabbitMQ out: messages published together, persistent, their confirms awaited together."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto

from aiormq.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import AMQPChannelError, AMQPError, DeliveryError
from pamqp.commands import Basic

from src.envelope import Outgoing

log = logging.getLogger(__name__)

FOREVER = math.inf
CONFIRM_TIMEOUT = 10  # seconds
ROUND_TRIP = 5  # seconds that a broker may take to answer
PAUSE = (0.05, 2)  # seconds between two attempts: the first, the longest
LOSSES = 3  # of the connection, after which a message that is tried once counts as refused: it may be what kills it


class _Result(Enum):
    TAKEN = auto()
    REFUSED = auto()  # returned, nacked, not confirmed in time, or its exchange is missing
    LOST = auto()  # with the connection: nobody knows, and nobody is to blame


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

    async def publish(self, messages: Sequence[Outgoing], *, patience: float = 0) -> list[bool]:
        """Whether the broker has taken each message.

        One that it refuses is published again for ``patience`` seconds. While the connection is down or blocked this
        waits, and what was lost with it is published again; without patience three times at the most.
        """
        loop, pause, losses = asyncio.get_running_loop(), PAUSE[0], 0
        results = [_Result.LOST] * len(messages)
        while pending := [
            index
            for index, result in enumerate(results)
            if result is _Result.LOST or (result is _Result.REFUSED and patience > 0)
        ]:
            connection = await self._ready()
            begun = loop.time()
            attempt = await self._attempt(connection, [messages[index] for index in pending])
            for index, result in zip(pending, attempt, strict=True):
                results[index] = result
            if failed := len(attempt) - attempt.count(_Result.TAKEN):
                log.warning("%d of %d messages were refused or lost with the connection", failed, len(attempt))
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE[1])
            if _Result.REFUSED in attempt:
                patience -= loop.time() - begun
            losses += _Result.LOST in attempt
            if patience <= 0 and losses == LOSSES:
                break
        return [result is _Result.TAKEN for result in results]

    async def _attempt(self, connection: AbstractConnection, messages: Sequence[Outgoing]) -> list[_Result]:
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

    async def _publish(self, message: Outgoing) -> _Result:
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
        except (AMQPError, OSError, RuntimeError):  # aiormq: RuntimeError of a channel that is closed
            return _Result.LOST
        return _Result.TAKEN if isinstance(confirmation, Basic.Ack) else _Result.REFUSED

    async def _is_up(self) -> bool:
        """Ask the broker: a connection that is blocked or dead confirms nothing, and nobody has refused anything."""
        try:
            async with asyncio.timeout(ROUND_TRIP):
                channel = await self._open_channel()
                await channel.close()
        except (AMQPError, OSError, RuntimeError):
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
