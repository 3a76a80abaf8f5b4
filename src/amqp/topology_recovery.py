"""Declare the service's topology again when somebody deletes a part of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from src.amqp.connections import close_channel, translate_cancellation

log = logging.getLogger(__name__)

CHECK_INTERVAL = 5  # seconds: messages to a deleted exchange wait so long, and a check costs a dozen passive declares
CANCEL_NOTICE = 1  # seconds: the broker notifies all consumers of a deleted queue within milliseconds
CHECK_TIMEOUT = 30  # seconds: a declare of a quorum queue waits for the election of its leader

type OpenChannel = Callable[[], Awaitable[Channel]]


class RecoveryChannel:
    """A channel whose declares apply only to what is missing, and whose binds only to what was declared again.

    It removes no bindings: two versions that run side by side with different ``WRITE_PARTITIONS`` would remove each
    other's.
    """

    def __init__(self, open_channel: OpenChannel) -> None:
        self._open_channel = open_channel
        self._channel: Channel | None = None
        self._restored: set[str] = set()
        self._waited = False

    async def exchange_declare(self, name: str, **how: Any) -> None:
        """Declare the exchange if it is missing."""
        if not await self._exists(Channel.exchange_declare, name):
            await (await self._get_channel()).exchange_declare(name, **how)
            self._mark_restored(name)

    async def queue_declare(self, name: str, **how: Any) -> None:
        """Declare the queue if it is missing."""
        if not await self._exists(Channel.queue_declare, name):
            await self._wait_for_cancels()
            await (await self._get_channel()).queue_declare(name, **how)
            self._mark_restored(name)

    async def queue_bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Bind the queue if it or the exchange was declared again."""
        if not self._restored.isdisjoint({queue, exchange}):
            await (await self._get_channel()).queue_bind(queue, exchange, routing_key)

    async def exchange_bind(self, destination: str, source: str, routing_key: str = "") -> None:
        """Bind the exchanges if one of them was declared again."""
        if not self._restored.isdisjoint({destination, source}):
            await (await self._get_channel()).exchange_bind(destination, source, routing_key)

    async def queue_unbind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Do nothing."""

    async def exchange_unbind(self, destination: str, source: str, routing_key: str = "") -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Close the channel if one is open."""
        if self._channel:
            await close_channel(self._channel)

    async def _exists(self, declare: Callable[..., Awaitable[object]], name: str) -> bool:
        try:
            await declare(await self._get_channel(), name, passive=True)
        except ChannelNotFoundEntity:  # the broker has closed the channel
            return False
        return True

    async def _get_channel(self) -> Channel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._open_channel()
        return self._channel

    async def _wait_for_cancels(self) -> None:
        """Wait once for the broker to cancel the consumers of deleted queues.

        RabbitMQ 3.10 does not cancel a consumer whose quorum queue is declared again before, and delivers nothing to
        it.
        """
        if not self._waited:
            await asyncio.sleep(CANCEL_NOTICE)
            self._waited = True

    def _mark_restored(self, name: str) -> None:
        log.warning("%s was missing and has been declared again", name)
        self._restored.add(name)


type Declaring = Channel | RecoveryChannel


class TopologyRecovery:
    """Declares the whole topology once, and what is missing of it from then on. ``declare`` is the topology's."""

    def __init__(self, declare: Callable[[Declaring], Awaitable[None]], open_channel: OpenChannel) -> None:
        self._declare = declare
        self._open_channel = open_channel
        self._declaring = asyncio.Lock()
        self._declared = False

    async def declare(self) -> None:
        """Declare what is missing. Raises StartupError and CONNECTION_ERRORS."""
        async with self._declaring:
            channel = RecoveryChannel(self._open_channel) if self._declared else await self._open_channel()
            try:
                await self._declare(channel)
                self._declared = True
            finally:
                await (channel.close() if isinstance(channel, RecoveryChannel) else close_channel(channel))

    async def restore(self) -> None:
        """Declare what is missing, or log why that failed: the caller retries its own operation in any case."""
        try:
            with translate_cancellation():
                async with asyncio.timeout(CHECK_TIMEOUT):
                    await self.declare()
        except Exception as error:  # the background task that checks must go on whatever happens
            log.warning("what may be missing on the broker could not be declared: %r", error)

    async def watch(self) -> None:
        """Restore the topology at intervals, also where no publish finds an exchange missing. Run until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            await self.restore()
