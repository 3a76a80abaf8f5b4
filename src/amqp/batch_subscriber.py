"""A FastStream subscriber that hands over whatever has arrived as one batch.

It is declared with a decorator on the broker, and started and stopped with it, like any other. What differs is inside:
deliveries go into a list instead of through a pipeline each, and the next batch is what arrived while the last one ran.
A busy service batches, an idle one adds no delay, and there is no timer. Nothing here knows what a request is.

A window (the deliveries that a channel holds unacked) is given back in one way only, by closing its channel: cancelling
lets a standby start on later messages while earlier ones still run, and a reject with requeue shuffles them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiormq.channel import Channel
from aiormq.exceptions import AMQPError
from faststream.rabbit.subscriber.usecase import RabbitSubscriber

from src import backoff
from src.amqp.connections import CLOSE_TIMEOUT, LOST, close_channel, told_to_end
from src.amqp.frames import Delivery, DeliveryAssembler, FrameHandler

log = logging.getLogger(__name__)

COUNT = "x-delivery-count"  # how often a quorum queue has got a message back
RETURNS = 2  # that make a message a suspect: one may have been a stop, or a connection that was lost
HEADER_COST = 15  # bytes in memory of one byte of a header, where it is a table of many small values
LARGEST_HEADER = 131_072  # bytes, by RabbitMQ's default frame_max
OPEN_TIMEOUT = 30  # seconds that it may take to prepare, to open a channel and to begin to consume


class ConsumerPaused(Exception):
    """A handler cannot go on: give the window back, and begin again when the preparation succeeds."""


TOLERATED = (ConsumerPaused, AMQPError, OSError)
"""What a handler may raise, and is called again; anything else but a cancellation ends the process."""


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


type Handler = Callable[[Batch], Awaitable[None]]


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


class BatchSubscriber(RabbitSubscriber):
    """``prepare`` runs before each opening of a channel and raises while the service cannot work.

    ``consuming`` is set while the broker delivers to us, or would if it were our turn.
    """

    def __init__(
        self,
        *args: Any,
        handler: Handler,
        limits: BatchLimits,
        open_channel: Callable[[FrameHandler], Awaitable[Channel]],
        prepare: Callable[[], Awaitable[None]],
        on_failure: Callable[[BaseException], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._handler = handler
        self._limits = limits
        self._open_channel = open_channel
        self._prepare = prepare
        self._on_failure = on_failure
        self._stopping = asyncio.Event()
        self.consuming = asyncio.Event()
        self.window: Window | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many deliveries no batch has taken yet."""
        return self.window.waiting if self.window else 0

    @property
    def lives(self) -> bool:
        """Its loop has not ended by itself; it need not have begun."""
        return self._task is None or not self._task.done() or self._stopping.is_set()

    async def start(self) -> None:
        """Begin to consume, in a task that is watched: a process whose loop has ended must end."""
        self._task = asyncio.create_task(self._run(), name=self.queue.name)
        self._task.add_done_callback(self._watch)
        self._post_start()

    async def stop(self) -> None:
        """Begin no new batch, let the running one finish, close the channel."""
        self.running = False
        self._stopping.set()
        if self._task is None:
            return
        if self.window:
            self.window.wake()
            await asyncio.wait({self._task}, timeout=self._outer_config.graceful_timeout)
        self._task.cancel()  # too late, or there is nothing in flight
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pausing, window = backoff.growing(), Window(self._limits, self._stopping)
        while not self._stopping.is_set():
            try:
                await self._open(window)
                pausing = backoff.growing()
                await self._consume(window)
            except TOLERATED as reason:  # a RuntimeError may be a bug of the handler
                why = str(reason) or repr(reason)
                log.warning(
                    "%s: not consuming for the moment: %s", self.queue.name, why, extra=self._told | {"reason": why}
                )
            except asyncio.CancelledError:
                if told_to_end():
                    raise
            window = window.following()
            await backoff.wait(self._stopping, next(pausing))

    async def _open(self, window: Window) -> None:
        """Open the window on a channel of its own. Raises Pause where there is none to be had."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):  # a broker may accept, and never answer
                await self._prepare()
                await self._begin(window)
        except LOST as error:
            raise ConsumerPaused(repr(error)) from error

    async def _begin(self, window: Window) -> None:
        channel = await self._open_channel(window.tap)
        try:
            await window.open(channel, self.queue.name)
        except BaseException:
            await close_channel(channel)  # or what it may already hold would never come back
            raise

    async def _consume(self, window: Window) -> None:
        self.window = window
        self.consuming.set()
        log.info("%s: consuming", self.queue.name, extra=self._told)
        try:
            while batch := await window.take():
                await self._handler(batch)
        finally:
            self.consuming.clear()
            self.window = None
            await close_channel(window.channel)

    @property
    def _told(self) -> dict[str, str]:
        return {"partition": self.queue.name}

    def _watch(self, task: asyncio.Task[None]) -> None:
        """A loop that has ended without being asked to must not leave a process that looks alive."""
        error = None if task.cancelled() else task.exception()
        if error or not self._stopping.is_set():
            self._on_failure(error or RuntimeError(f"{self.queue.name}: the loop has ended"))


async def _untapped(delivery: object) -> None:
    """What comes after the channel was closed is not ours any more."""
