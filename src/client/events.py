"""Events from a queue that exists as long as its channel."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from ..amqp import connections
from .messages import Event, read_event

PREFETCH = 200  # events that the broker delivers ahead of the iteration

type Arrived = asyncio.Queue[AbstractIncomingMessage | None]
"""None marks the end: the channel was closed."""


async def subscribe(channel: aio_pika.Channel, exchange: str, pattern: str) -> AsyncIterator[Event]:
    """Bind a queue of the channel's own to the exchange, and return its events. Skip messages that are not events.

    The iteration raises ConnectionError when the channel closes.
    """
    arrived: Arrived = asyncio.Queue()
    channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
    await channel.set_qos(prefetch_count=PREFETCH)
    queue = await channel.declare_queue(exclusive=True, auto_delete=True)
    await queue.bind(exchange, pattern)
    await queue.consume(arrived.put)
    return _read(arrived)


async def _read(arrived: Arrived) -> AsyncIterator[Event]:
    while message := await arrived.get():
        try:
            await message.ack()
        except connections.CONNECTION_ERRORS:
            break
        if event := read_event(message):
            yield event
    raise ConnectionError("the connection was lost, and with it the queue of events: what happened since is missed")
