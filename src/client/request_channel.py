"""The channel that the client publishes requests on."""

import asyncio
from collections.abc import Awaitable, Callable

import aio_pika


class RequestChannel:
    """Publishes requests on one channel, and opens another when the channel was closed."""

    def __init__(self, open_: Callable[[], Awaitable[aio_pika.Exchange]]) -> None:
        self._open = open_
        self._opening = asyncio.Lock()
        self._requests: aio_pika.Exchange | None = None

    async def publish(self, message: aio_pika.Message, operation: str) -> None:
        async with self._opening:
            if self._requests is None or self._requests.channel.is_closed:
                self._requests = await self._open()
        await self._requests.publish(message, operation)
