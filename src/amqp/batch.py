"""A batch of deliveries, and the limits of its size."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from aiormq.channel import Channel

from src.amqp.connections import CLOSE_TIMEOUT, LOST
from src.amqp.frames import Delivery

log = logging.getLogger(__name__)

HEADER_COST = 15  # bytes in memory of one byte of a header, where it is a table of many small values
LARGEST_HEADER = 131_072  # bytes, by RabbitMQ's default frame_max


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries in their order, acked together or not at all. ``stopping`` says that there is no time to wait.

    A ``suspect`` is alone in its batch: it may be what kills the process.
    """

    deliveries: Sequence[Delivery]
    stopping: asyncio.Event
    channel: Channel
    suspect: bool = False

    @property
    def since(self) -> float:
        """When the oldest of them has arrived, by the monotonic clock."""
        return self.deliveries[0].arrived

    async def ack(self) -> None:
        """Settle all of them. Where the channel is gone, the broker delivers them again."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.channel.basic_ack(self.deliveries[-1].tag, multiple=True)
        except LOST as error:
            log.warning("%d deliveries could not be acked, they will come again: %r", len(self.deliveries), error)


@dataclass(frozen=True)
class BatchLimits:
    """``prefetch`` deliveries are held at the most; a batch has at the most ``requests``, and about ``batch_bytes``.

    Of a longer body only ``body_bytes`` are kept. The bodies that wait for their batch have together about
    ``window_bytes``, or are one. A queue that ``counts`` how often it has got a message back says so in a header; on
    any other, the header is the word of whoever has published the message.
    """

    prefetch: int
    requests: int
    body_bytes: int
    window_bytes: int
    batch_bytes: int = 4 * 1024 * 1024
    counts: bool = False

    @property
    def narrow(self) -> int:
        """So many deliveries fit into ``window_bytes`` whatever they hold."""
        return max(1, min(self.prefetch, self.window_bytes // (self.body_bytes + HEADER_COST * LARGEST_HEADER)))
