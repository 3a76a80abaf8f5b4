"""A FastStream subscriber that hands over whatever has arrived as one batch.

It is declared with a decorator on the broker, and started and stopped with it, like any other. What differs is inside:
deliveries go into a list instead of through a pipeline each, and the next batch is what arrived while the last one ran.
A busy service batches, an idle one adds no delay, and there is no timer. Nothing here knows what a request is.

A window (the deliveries that a channel holds unacked) is given back in one way only, by closing its channel: cancelling
lets a standby start on later messages while earlier ones still run, and a reject with requeue shuffles them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiormq.channel import Channel
from aiormq.exceptions import AMQPError
from faststream.rabbit.subscriber.usecase import RabbitSubscriber

from src.amqp.batch import Batch, BatchLimits
from src.amqp.connections import LOST, close_channel, told_to_end
from src.amqp.frames import FrameHandler
from src.amqp.window import Window
from src.backoff import Backoff

log = logging.getLogger(__name__)

OPEN_TIMEOUT = 30  # seconds: to prepare and to begin to consume; a broker may accept a connection and never answer


class ConsumerPaused(Exception):
    """A handler cannot go on: give the window back, and begin again when the preparation succeeds."""


TOLERATED = (ConsumerPaused, AMQPError, OSError)
"""What a handler may raise, and is called again; anything else but a cancellation ends the process."""


type Handler = Callable[[Batch], Awaitable[None]]


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
        backoff, window = Backoff(), Window(self._limits, self._stopping)
        while not self._stopping.is_set():
            try:
                await self._open(window)
                backoff.reset()
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
            await backoff.pause(self._stopping)

    async def _open(self, window: Window) -> None:
        """Open the window on a channel of its own. Raises Pause where there is none to be had."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
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
