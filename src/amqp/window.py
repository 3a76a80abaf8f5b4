"""The prefetch window: what one channel has delivered and no batch has taken yet."""

import asyncio
import logging
from collections import deque
from time import monotonic

from aiormq.channel import Channel

from src.amqp.assembling import DeliveryAssembler
from src.amqp.batch import HEADER_COST, Batch, BatchLimits
from src.amqp.frames import Delivery, FrameHandler

log = logging.getLogger(__name__)

COUNT = "x-delivery-count"  # how often a quorum queue has got a message back
RETURNS = 2  # that make a message a suspect: one may have been a stop, or a connection that was lost


class Window:
    """What one channel has delivered and no batch has taken yet.

    RabbitMQ counts messages, and not their bytes. So of a window whose bodies are too many bytes the last ones are not
    kept; it ends with those that are, and the next is so ``narrow`` that all fit. A narrow one ends when as many have
    come as would have fitted into a wide one.
    """

    channel: Channel

    def __init__(
        self, limits: BatchLimits, stopping: asyncio.Event, *, narrow: bool = False, wary: bool = True
    ) -> None:
        self.tap: FrameHandler = DeliveryAssembler(self._arrive, limits.body_bytes)
        self.narrow = narrow
        self.delivered = 0
        self._wary = wary  # the process has begun, and met nothing yet that has not come back
        self._limits = limits
        self._stopping = stopping
        self.outgrown = False  # it ends with what it has, and the next one is of the other width
        self._size = 0  # of the bodies that wait
        self._passed: list[int] = []  # the sizes of bodies that a wide one would have held together
        self._arrived: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    def following(self) -> "Window":
        """The one after this."""
        return Window(self._limits, self._stopping, narrow=self.narrow != self.outgrown, wary=self._wary)

    async def open(self, channel: Channel, queue: str) -> None:
        """Begin to consume the queue on this channel, whose frames go to ``tap``."""
        self.channel = channel
        channel.closing.add_done_callback(self._close)
        channel.on_consumer_cancel_callbacks.add(self._close)
        prefetch = self._limits.narrow if self.narrow else self._limits.prefetch
        await channel.basic_qos(prefetch_count=prefetch)
        await channel.basic_consume(queue, _untapped)

    @property
    def waiting(self) -> int:
        """How many deliveries no batch has taken yet."""
        return len(self._arrived)

    def _arrive(self, delivery: Delivery) -> None:
        """Tags follow on one another, or ``ack(multiple=True)`` would settle what nobody has seen."""
        self.delivered += 1
        if delivery.tag != self.delivered:
            log.error("delivery tag %s came where %s was due: closing the channel", delivery.tag, self.delivered)
            self._close()
        delivery.arrived = monotonic()
        if not self.outgrown:
            self._keep(delivery)
            self._wake.set()

    def _keep(self, delivery: Delivery) -> None:
        self._arrived.append(delivery)
        self._size += _weight(delivery)
        if not self.narrow:
            self.outgrown = self._size > self._limits.window_bytes
            return
        self._passed.append(_weight(delivery))
        if len(self._passed) == self._limits.prefetch:
            self.outgrown = sum(self._passed) <= self._limits.window_bytes
            self._passed.clear()

    async def take(self) -> Batch | None:
        """The next batch, as soon as there is anything; None when the window has ended or the service stops."""
        while not (self._arrived or self._ended or self.outgrown):
            self._wake.clear()
            await self._wake.wait()
        if self._ended or not self._arrived:
            return None
        suspect = self._suspects(self._arrived[0])
        taken = [self._arrived.popleft()] if suspect else self._together()
        self._size -= sum(map(_weight, taken))
        self._wary = self._wary and taken[-1].redelivered
        return Batch(taken, self._stopping, self.channel, suspect)

    def _together(self) -> list[Delivery]:
        """What has arrived, within the limits and up to the first suspect."""
        taken: list[Delivery] = []
        size = 0
        while self._arrived and len(taken) < self._limits.requests and size < self._limits.batch_bytes:
            if self._suspects(self._arrived[0]):
                break
            taken.append(self._arrived.popleft())
            size += len(taken[-1].body)
        return taken

    def _suspects(self, delivery: Delivery) -> bool:
        """Whether it may be what kills the process: it has come back, and where the queue counts that, twice.

        Where it does not, what comes back after one that has not is given back by somebody who lives.
        """
        if not (delivery.redelivered and self._limits.counts):
            return delivery.redelivered and self._wary
        count = delivery.headers.get(COUNT)
        return not isinstance(count, int) or count >= RETURNS  # headers that do not decode say nothing

    def wake(self) -> None:
        self._wake.set()

    @property
    def _ended(self) -> bool:
        return self._closed or self._stopping.is_set()

    def _close(self, *_: object) -> None:
        self._closed = True
        self._wake.set()


def _weight(delivery: Delivery) -> int:
    """About how many bytes it takes in memory."""
    return len(delivery.body) + HEADER_COST * delivery.header_size


async def _untapped(delivery: object) -> None:
    """What comes after the channel was closed is not ours any more."""
