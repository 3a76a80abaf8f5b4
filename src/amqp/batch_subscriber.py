"""A FastStream subscriber that gives its handler all deliveries that have arrived as one batch.

The broker declares, starts and stops it like any other subscriber. FastStream runs a pipeline for each delivery; this
subscriber collects deliveries while the handler runs, and the next batch is what it has collected. A busy service thus
works in batches, and an idle one adds no delay; there is no timer.

The subscriber requeues the deliveries of a window (those that a channel holds unacked) only by closing the channel.
After ``basic.cancel`` a standby consumer would begin with later messages while earlier ones still run, and a reject
with requeue changes their order.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiormq.channel import Channel
from aiormq.exceptions import AMQPError
from faststream.rabbit.subscriber.usecase import RabbitSubscriber

from src.amqp.batch import Batch, BatchLimits
from src.amqp.connections import CONNECTION_ERRORS, cancelled_by_caller, close_channel
from src.amqp.frames import FrameHandler
from src.amqp.window import Window
from src.backoff import Backoff

log = logging.getLogger(__name__)

OPEN_TIMEOUT = 30  # seconds: to prepare and to begin to consume; a broker may accept a connection and never answer


class ConsumerPaused(Exception):
    """Raised by a handler or a preparation: close the channel, and consume again when the preparation succeeds."""


RECOVERABLE_ERRORS = (ConsumerPaused, AMQPError, OSError)
"""Errors of a handler after which the subscriber consumes again. Any other error ends the process."""


type Handler = Callable[[Batch], Awaitable[None]]


class BatchSubscriber(RabbitSubscriber):
    """Consumes one queue, window after window, in a task of its own.

    ``prepare`` runs before each opening of a channel and raises while the service cannot work. ``consuming`` is set
    while the queue has this consumer, be it the active one or a standby.
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
        """The number of deliveries that no batch has taken yet."""
        return self.window.waiting if self.window else 0

    @property
    def lives(self) -> bool:
        """Whether its task has not ended by itself; true also before the task begins."""
        return self._task is None or not self._task.done() or self._stopping.is_set()

    async def start(self) -> None:
        """Begin to consume in a task; when the task ends by itself, call ``on_failure``."""
        self._task = asyncio.create_task(self._run(), name=self.queue.name)
        self._task.add_done_callback(self._report_end)
        self._post_start()

    async def stop(self) -> None:
        """Begin no new batch, let the running one finish within the graceful timeout, and close the channel."""
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
            except RECOVERABLE_ERRORS as reason:  # a RuntimeError may be a bug of the handler
                why = str(reason) or repr(reason)
                log.warning(
                    "%s: not consuming for the moment: %s",
                    self.queue.name,
                    why,
                    extra=self._log_fields | {"reason": why},
                )
            except asyncio.CancelledError:
                if cancelled_by_caller():
                    raise
            window = window.next_window()
            await backoff.pause(self._stopping)

    async def _open(self, window: Window) -> None:
        """Open the window on a channel of its own. Raises ConsumerPaused if the connection is lost or slow."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await self._prepare()
                await self._begin(window)
        except CONNECTION_ERRORS as error:
            raise ConsumerPaused(repr(error)) from error

    async def _begin(self, window: Window) -> None:
        channel = await self._open_channel(window.handle_frame)
        try:
            await window.open(channel, self.queue.name)
        except BaseException:
            await close_channel(channel)  # requeues what the broker may already have delivered
            raise

    async def _consume(self, window: Window) -> None:
        self.window = window
        self.consuming.set()
        log.info("%s: consuming", self.queue.name, extra=self._log_fields)
        try:
            while batch := await window.take():
                await self._handler(batch)
        finally:
            self.consuming.clear()
            self.window = None
            await close_channel(window.channel)

    @property
    def _log_fields(self) -> dict[str, str]:
        return {"partition": self.queue.name}

    def _report_end(self, task: asyncio.Task[None]) -> None:
        """Report a task that ended although nobody stopped it: the process would look alive and consume nothing."""
        error = None if task.cancelled() else task.exception()
        if error or not self._stopping.is_set():
            self._on_failure(error or RuntimeError(f"{self.queue.name}: the loop has ended"))
