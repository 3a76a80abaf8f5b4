"""RabbitMQ out: messages published together, persistent, their confirms awaited together."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence

from aiormq.channel import Channel
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic

from src.envelope import Outgoing

log = logging.getLogger(__name__)

FOREVER = math.inf
CONFIRM_TIMEOUT = 10  # seconds
PAUSE = (0.05, 2)  # seconds between two attempts: the first, the longest


class Publisher:
    """Publishes over a connection of its own, for a broker short of memory stops reading from those that publish.

    ``ready`` waits until the broker takes messages, and ``open_channel`` opens a channel on that connection. Each
    exchange has its own: to publish to one that is missing closes the channel, and must not take others with it.
    """

    def __init__(self, ready: Callable[[], Awaitable[object]], open_channel: Callable[[], Awaitable[Channel]]) -> None:
        self._ready = ready
        self._open_channel = open_channel
        self._channels: dict[str, Channel] = {}
        self._opening = asyncio.Lock()

    async def publish(self, messages: Sequence[Outgoing], *, patience: float = 0) -> list[bool]:
        """Whether the broker has taken each message.

        One that it refuses or does not confirm is published again for ``patience`` seconds. While the connection is
        down or blocked this waits, and nothing counts.
        """
        taken = [False] * len(messages)
        loop, pause = asyncio.get_running_loop(), PAUSE[0]
        while pending := [index for index, done in enumerate(taken) if not done]:
            await self._ready()
            begun = loop.time()
            results = await asyncio.gather(*(self._publish(messages[index]) for index in pending))
            for index, done in zip(pending, results, strict=True):
                taken[index] = done
            if all(taken):
                break
            if await self._is_up():
                patience -= loop.time() - begun + pause
                if patience < 0:
                    break
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE[1])
        return taken

    async def _publish(self, message: Outgoing) -> bool:
        try:
            channel = self._channels.get(message.exchange)
            if channel is None or channel.is_closed:
                channel = await self._open(message.exchange)
            confirmation = await channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                properties=message.properties,
                mandatory=message.mandatory,
                timeout=CONFIRM_TIMEOUT,
                wait=False,
            )
        except (AMQPError, OSError, RuntimeError) as error:  # returned, nacked, timed out, or the channel is gone
            log.warning("exchange %r did not take a message: %s", message.exchange, type(error).__name__)
            return False
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise
            return False  # aiormq gives this to those who wait on a connection that it closes
        return isinstance(confirmation, Basic.Ack)

    async def _open(self, exchange: str) -> Channel:
        async with self._opening:
            channel = self._channels.get(exchange)
            if channel is None or channel.is_closed:
                channel = self._channels[exchange] = await self._open_channel()
            return channel

    async def _is_up(self) -> bool:
        try:
            async with asyncio.timeout(0.1):
                await self._ready()
        except TimeoutError:
            return False
        return True
