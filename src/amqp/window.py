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

DELIVERY_COUNT = "x-delivery-count"  # a quorum queue sets it: how often the message came back
SUSPECTED_AFTER = 2  # redeliveries: one may be due to a stop or a lost connection


class Window:
    """The deliveries of one channel that no batch has taken yet.

    RabbitMQ limits the unacked messages of a consumer by their number only, and ``prefetch`` bodies of the largest size
    do not fit into memory. A window therefore has one of two prefetch counts. The full one serves the usual small
    messages; when they exceed ``window_bytes`` the window drops later deliveries, and ends when its batches are done.
    The next window has the reduced prefetch, with which any messages fit. When as many deliveries as the full prefetch
    came through it and would have fitted together, the window after it has the full prefetch again.
    """

    channel: Channel

    def __init__(
        self,
        limits: BatchLimits,
        stopping: asyncio.Event,
        *,
        reduced: bool = False,
        only_redelivered: bool = True,
    ) -> None:
        self.handle_frame: FrameHandler = DeliveryAssembler(self._add, limits.body_bytes)
        self.reduced = reduced
        self.needs_resize = False  # it ends with what it holds, and the next window has the other prefetch
        self.delivered = 0
        self._only_redelivered = only_redelivered  # all that this process has taken so far
        self._limits = limits
        self._stopping = stopping
        self._size = 0  # bytes of the deliveries that wait
        self._sizes: list[int] = []  # of the deliveries that the full prefetch would have let in together
        self._arrived: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    def next_window(self) -> "Window":
        """Return the window to open after this one."""
        reduced = self.reduced != self.needs_resize
        return Window(self._limits, self._stopping, reduced=reduced, only_redelivered=self._only_redelivered)

    async def open(self, channel: Channel, queue: str) -> None:
        """Begin to consume the queue on this channel, whose frames ``handle_frame`` gets."""
        self.channel = channel
        channel.closing.add_done_callback(self._close)
        channel.on_consumer_cancel_callbacks.add(self._close)
        prefetch = self._limits.reduced_prefetch if self.reduced else self._limits.prefetch
        await channel.basic_qos(prefetch_count=prefetch)
        await channel.basic_consume(queue, _ignore_delivery)

    @property
    def waiting(self) -> int:
        """The number of deliveries that no batch has taken yet."""
        return len(self._arrived)

    def _add(self, delivery: Delivery) -> None:
        """Add a delivery. Close if its tag is not the next, as ``ack(multiple=True)`` would ack unseen deliveries."""
        self.delivered += 1
        if delivery.tag != self.delivered:
            log.error("delivery tag %s came where %s was due: closing the channel", delivery.tag, self.delivered)
            self._close()
        delivery.arrived = monotonic()
        if not self.needs_resize:
            self._arrived.append(delivery)
            self._update_size(_memory(delivery))
            self._wake.set()

    def _update_size(self, added: int) -> None:
        """Count the bytes of a delivery, and decide whether the other prefetch suits the messages better."""
        self._size += added
        if not self.reduced:
            self.needs_resize = self._size > self._limits.window_bytes
            return
        self._sizes.append(added)
        if len(self._sizes) == self._limits.prefetch:
            self.needs_resize = sum(self._sizes) <= self._limits.window_bytes
            self._sizes.clear()

    async def take(self) -> Batch | None:
        """Return the next batch as soon as a delivery is there; None when the window has ended or the service stops."""
        while not (self._arrived or self._ended or self.needs_resize):
            self._wake.clear()
            await self._wake.wait()
        if self._ended or not self._arrived:
            return None
        suspected = self._is_suspected(self._arrived[0])
        taken = [self._arrived.popleft()] if suspected else self._take_unsuspected()
        self._size -= sum(map(_memory, taken))
        self._only_redelivered = self._only_redelivered and taken[-1].redelivered
        return Batch(taken, self._stopping, self.channel, suspected)

    def _take_unsuspected(self) -> list[Delivery]:
        """Take deliveries within the limits, up to the first suspected poison message."""
        taken: list[Delivery] = []
        size = 0
        while self._arrived and len(taken) < self._limits.requests and size < self._limits.batch_bytes:
            if self._is_suspected(self._arrived[0]):
                break
            taken.append(self._arrived.popleft())
            size += len(taken[-1].body)
        return taken

    def _is_suspected(self, delivery: Delivery) -> bool:
        """Whether the delivery may be a poison message, one that crashes the process.

        A quorum queue counts redeliveries, and two make a message suspected. On another queue each redelivered message
        is suspected until the process takes one that is not redelivered: a consumer that still runs gave back those
        that come later.
        """
        if not (delivery.redelivered and self._limits.has_delivery_count):
            return delivery.redelivered and self._only_redelivered
        count = delivery.headers.get(DELIVERY_COUNT)
        return not isinstance(count, int) or count >= SUSPECTED_AFTER  # a header that does not decode has no count

    def wake(self) -> None:
        """Let ``take`` look whether the service stops."""
        self._wake.set()

    @property
    def _ended(self) -> bool:
        return self._closed or self._stopping.is_set()

    def _close(self, *_: object) -> None:
        self._closed = True
        self._wake.set()


def _memory(delivery: Delivery) -> int:
    """About how many bytes of memory the delivery takes."""
    return len(delivery.body) + HEADER_COST * delivery.header_size


async def _ignore_delivery(delivery: object) -> None:
    """Ignore a delivery that arrives after the channel was closed, when its frames go to aiormq."""
