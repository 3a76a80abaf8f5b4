"""RabbitMQ out: messages published together, persistent, and again where they were refused or lost."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from aiormq.exceptions import AMQPChannelError, ChannelNotFoundEntity

from src import wire
from src.amqp.confirm_channel import ConfirmChannel, Result
from src.amqp.connections import LOST, Outbound, cancelled_by_loss
from src.amqp.frames import Message
from src.backoff import Backoff
from src.telemetry import metrics

log = logging.getLogger(__name__)

CONFIRM_TIMEOUT = 10  # seconds: a broker that is up confirms sooner, also while its disk is busy
PROBE_TIMEOUT = 5  # seconds: a broker that is up opens and closes a channel sooner
FIRST_DELAY = 0.1  # seconds: a queue that was full may have room again by then
LONGEST_DELAY = 2  # seconds: the batch holds its deliveries until its messages are confirmed


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Whether we ``insist`` on what is refused, and after how many ``losses`` of its connection a message is given up.

    A loss is that of the connection while the message is on its way: nobody knows whether the broker has it.
    """

    insist: bool = False
    losses: float = math.inf

    def again(self, result: Result, tried: int) -> bool:
        """Whether a message of which this became is published again, after so many tries."""
        match result:
            case Result.TAKEN:
                return False
            case Result.REFUSED:
                return self.insist
            case Result.UNKNOWN:
                return tried < self.losses
            case Result.MISSING:
                return True
            case _:
                assert_never(result)


RETRY_TWICE_IF_LOST = RetryPolicy(losses=3)
"""A refused message is given up, and one whose connection was lost three times: it may be what kills it."""

RETRY_IF_LOST = RetryPolicy()
"""A refused message is given up, but never one whose connection was lost."""

RETRY_ALWAYS = RetryPolicy(insist=True)


class Publisher:
    """Publishes over a connection of its own, for a broker short of memory stops reading from those that publish.

    Each exchange has its own channel: to publish to one that is missing closes the channel, and must not take others
    with it. ``restore`` declares what is missing.
    """

    def __init__(self, outbound: Outbound, restore: Callable[[], Awaitable[None]]) -> None:
        self._outbound = outbound
        self._restore = restore
        self._outlets: dict[str, ConfirmChannel] = {}
        self._opening = asyncio.Lock()

    async def publish(self, messages: Sequence[Message], tries: RetryPolicy) -> list[bool]:
        """Whether the broker has taken each message. While the connection is down or blocked this waits."""
        taken, pending, apart = [False] * len(messages), list(range(len(messages))), False
        backoff, tried = Backoff(FIRST_DELAY, LONGEST_DELAY), 0
        while pending:
            tried += 1
            with metrics.BROKER.waiting(self):
                await self._outbound.ready()
            attempted = [messages[index] for index in pending]
            results = await (self._attempt_apart(attempted, tries) if apart else self._attempt(attempted))
            apart = apart or Result.UNKNOWN in results
            for index, result in zip(pending, results, strict=True):
                taken[index] = result is Result.TAKEN
            if failed := len(pending) - results.count(Result.TAKEN):
                log.warning("%d of %d messages were refused or lost with the connection", failed, len(pending))
            pending = [index for index, result in zip(pending, results, strict=True) if tries.again(result, tried)]
            if Result.MISSING in results:
                await self._restore()
            if pending:
                await backoff.pause()
        return taken

    async def _attempt_apart(self, messages: Sequence[Message], tries: RetryPolicy) -> list[Result]:
        """Publish one after the other: the one that closes the channel, or kills the connection, takes none along.

        A direct reply with which the connection was lost is given up: an address that nobody has ends it each time.
        After some losses all the others are.
        """
        results: list[Result] = []
        losses = 0
        for message in messages:
            direct = not message.exchange and message.routing_key.startswith(wire.DIRECT_REPLY_TO)
            result = Result.REFUSED
            if not direct or losses < tries.losses:
                (result,) = await self._attempt([message])
                losses += result is Result.UNKNOWN
            results.append(Result.REFUSED if direct and result is Result.UNKNOWN else result)
        return results

    async def _attempt(self, messages: Sequence[Message]) -> list[Result]:
        """Publish once, all exchanges side by side."""
        exchanges = list(dict.fromkeys(message.exchange for message in messages))
        groups = [[message for message in messages if message.exchange == exchange] for exchange in exchanges]
        found = await asyncio.gather(*map(self._send, exchanges, groups))
        results = {exchange: iter(of_exchange) for exchange, of_exchange in zip(exchanges, found, strict=True)}
        return [next(results[message.exchange]) for message in messages]

    async def _send(self, exchange: str, messages: Sequence[Message]) -> list[Result]:
        try:
            with cancelled_by_loss():
                outlet = await self._outlet(exchange)
                sent = await outlet.send(messages)
        except LOST:
            return [Result.UNKNOWN] * len(messages)
        closed, ended = outlet.channel.closing, asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait({sent.answered, closed}, timeout=CONFIRM_TIMEOUT, return_when=ended)
            unanswered = Result.TAKEN if sent.answered.done() else await self._blame(closed, len(messages))
        finally:
            closed.cancel()  # an observer of our own
        return [result or unanswered for result in sent.results]

    async def _blame(self, closed: asyncio.Future[None], count: int) -> Result:
        """What became of messages that the broker did not answer for. Of several one has closed the channel: which?"""
        if closed.done():
            reason = None if closed.cancelled() else closed.exception()
            if isinstance(reason, ChannelNotFoundEntity):
                return Result.MISSING
            refused = count == 1 and isinstance(reason, AMQPChannelError)
        else:
            refused = await self._is_up()
        return Result.REFUSED if refused else Result.UNKNOWN

    async def _is_up(self) -> bool:
        """Ask the broker: a connection that is blocked or dead confirms nothing, and nobody has refused anything."""
        try:
            with cancelled_by_loss():
                async with asyncio.timeout(PROBE_TIMEOUT):
                    channel = await self._outbound.open_channel()
                    await channel.close()
        except LOST:
            return False
        return True

    async def _outlet(self, exchange: str) -> ConfirmChannel:
        async with self._opening:
            outlet = self._outlets.get(exchange)
            if outlet is None or outlet.channel.is_closed:
                outlet = ConfirmChannel()
                outlet.channel = await self._outbound.open_channel(outlet.take)
                self._outlets[exchange] = outlet
            return outlet
