"""A subscriber whose queue is full."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aio_pika

import config
from tests.support import harness


@contextlib.asynccontextmanager
async def full_queue(settings: config.Settings, pattern: str = "#") -> AsyncIterator[aio_pika.abc.AbstractQueue]:
    """A subscriber to these events that takes none until it is consumed; its queue holds one message, ``full``."""
    async with harness.channel(settings.rabbitmq_url.get_secret_value()) as channel:
        limits: Any = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue(exclusive=True, arguments=limits)
        await channel.default_exchange.publish(aio_pika.Message(b"full"), queue.name)
        await queue.bind(harness.names(settings).events, pattern)
        yield queue


async def drained(queue: aio_pika.abc.AbstractQueue, count: int) -> list[bytes]:
    """The bodies of so many messages, as soon as they have come; there is room again."""
    async with queue.iterator(no_ack=True, timeout=harness.DEADLINE) as taken:
        return [(await anext(taken)).body for _ in range(count)]
