"""Events as they arrive, from a queue that lives as long as its channel."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from ..amqp import connections
from .messages import Event, read_event

EVENTS_AHEAD = 200
"""How many events the broker hands over before they are asked for."""

type Arrived = asyncio.Queue[AbstractIncomingMessage | None]
"""None where the channel was closed: nothing comes after it."""


async def subscribe(channel: aio_pika.Channel, exchange: str, pattern: str) -> AsyncIterator[Event]:
    """Every event that the exchange gets from now on under a name that fits the pattern; what is none is left out.

    The iteration raises ConnectionError when the channel is closed by somebody else.
    """
    arrived: Arrived = asyncio.Queue()
    channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
    await channel.set_qos(prefetch_count=EVENTS_AHEAD)
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
