"""A batch of deliveries, and the limits of its size."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from aiormq.channel import Channel

from src.amqp.connections import CLOSE_TIMEOUT, CONNECTION_ERRORS
from src.amqp.frames import Delivery

log = logging.getLogger(__name__)

HEADER_COST = 15  # bytes in memory of one byte of a header, where it is a table of many small values
LARGEST_HEADER = 131_072  # bytes, by RabbitMQ's default frame_max


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries in their order, acked together or not at all. ``stopping`` is set when the service stops.

    A ``suspected`` poison message, which may crash the process, is alone in its batch.
    """

    deliveries: Sequence[Delivery]
    stopping: asyncio.Event
    channel: Channel
    suspected: bool = False

    @property
    def since(self) -> float:
        """When the oldest delivery arrived, by the monotonic clock."""
        return self.deliveries[0].arrived

    async def ack(self) -> None:
        """Ack all deliveries. If the channel is closed, log a warning; the broker delivers them again."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.channel.basic_ack(self.deliveries[-1].tag, multiple=True)
        except CONNECTION_ERRORS as error:
            log.warning("%d deliveries could not be acked, they will come again: %r", len(self.deliveries), error)


@dataclass(frozen=True)
class BatchLimits:
    """The limits of a subscriber's prefetch window and of its batches.

    Attributes:
        prefetch: Largest number of unacked deliveries.
        requests: Largest number of deliveries in a batch.
        body_bytes: Bytes that are kept of a body; the rest is counted and dropped.
        window_bytes: Memory for the deliveries that wait for a batch; one delivery may exceed it.
        batch_bytes: A batch ends with the delivery whose body reaches this total.
        has_delivery_count: Whether the queue is a quorum queue, which sets ``x-delivery-count`` itself. On any other
            queue the publisher can forge that header.
    """

    prefetch: int
    requests: int
    body_bytes: int
    window_bytes: int
    batch_bytes: int = 4 * 1024 * 1024
    has_delivery_count: bool = False

    @property
    def reduced_prefetch(self) -> int:
        """The number of deliveries that fit into ``window_bytes`` if each has the largest body and header."""
        return max(1, min(self.prefetch, self.window_bytes // (self.body_bytes + HEADER_COST * LARGEST_HEADER)))
