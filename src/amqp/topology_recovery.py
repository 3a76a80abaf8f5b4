"""What the service declares on the broker comes back when somebody deletes it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from src.amqp.connections import cancelled_by_loss, close_channel

log = logging.getLogger(__name__)

CHECK_INTERVAL = 5  # seconds: messages to a deleted exchange wait so long, and a check costs a dozen passive declares
CANCEL_NOTICE = 1  # seconds: the broker notifies all consumers of a deleted queue within milliseconds
CHECK_TIMEOUT = 30  # seconds: a declare of a quorum queue waits for the election of its leader

type OpenChannel = Callable[[], Awaitable[Channel]]


class RecoveryChannel:
    """Declares and binds as a channel does, but only what is missing and what hangs on it. Nothing is unbound.

    Two versions that run side by side with different ``WRITE_PARTITIONS`` would take each other's bindings away.
    """

    def __init__(self, open_channel: OpenChannel) -> None:
        self._open_channel = open_channel
        self._channel: Channel | None = None
        self._restored: set[str] = set()
        self._noticed = False

    async def exchange_declare(self, name: str, **how: Any) -> None:
        if not await self._exists(Channel.exchange_declare, name):
            await (await self._opened()).exchange_declare(name, **how)
            self._note(name)

    async def queue_declare(self, name: str, **how: Any) -> None:
        if not await self._exists(Channel.queue_declare, name):
            await self._give_notice()
            await (await self._opened()).queue_declare(name, **how)
            self._note(name)

    async def queue_bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        if not self._restored.isdisjoint({queue, exchange}):
            await (await self._opened()).queue_bind(queue, exchange, routing_key)

    async def exchange_bind(self, destination: str, source: str, routing_key: str = "") -> None:
        if not self._restored.isdisjoint({destination, source}):
            await (await self._opened()).exchange_bind(destination, source, routing_key)

    async def queue_unbind(self, queue: str, exchange: str, routing_key: str = "") -> None: ...

    async def exchange_unbind(self, destination: str, source: str, routing_key: str = "") -> None: ...

    async def close(self) -> None:
        if self._channel:
            await close_channel(self._channel)

    async def _exists(self, declare: Callable[..., Awaitable[object]], name: str) -> bool:
        try:
            await declare(await self._opened(), name, passive=True)
        except ChannelNotFoundEntity:  # which has closed the channel
            return False
        return True

    async def _opened(self) -> Channel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._open_channel()
        return self._channel

    async def _give_notice(self) -> None:
        """RabbitMQ 3.10 does not cancel the consumer of a quorum queue that is there again, and gives it nothing."""
        if not self._noticed:
            await asyncio.sleep(CANCEL_NOTICE)
            self._noticed = True

    def _note(self, name: str) -> None:
        log.warning("%s was missing and has been declared again", name)
        self._restored.add(name)


type Declaring = Channel | RecoveryChannel


class TopologyRecovery:
    """Declares everything once, and from then on what is missing. ``declare`` is the topology's."""

    def __init__(self, declare: Callable[[Declaring], Awaitable[None]], open_channel: OpenChannel) -> None:
        self._declare = declare
        self._open_channel = open_channel
        self._declaring = asyncio.Lock()
        self._declared = False

    async def declare(self) -> None:
        """Everything is there afterwards. Raises Refused and what is ``LOST``."""
        async with self._declaring:
            channel = RecoveryChannel(self._open_channel) if self._declared else await self._open_channel()
            try:
                await self._declare(channel)
                self._declared = True
            finally:
                await (channel.close() if isinstance(channel, RecoveryChannel) else close_channel(channel))

    async def restore(self) -> None:
        """Everything is there afterwards, if that can be: who needs it tries again in any case."""
        try:
            with cancelled_by_loss():
                async with asyncio.timeout(CHECK_TIMEOUT):
                    await self.declare()
        except Exception as error:  # nobody watches the task that looks, and it must go on whatever happens
            log.warning("what may be missing on the broker could not be declared: %r", error)

    async def watch(self) -> None:
        """Look for what is missing now and then, also where nobody publishes to it."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            await self.restore()
