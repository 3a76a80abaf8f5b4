"""Publish batches of messages, and again those that the broker refused or that were lost with the connection."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import assert_never

from aiormq.exceptions import AMQPChannelError, ChannelNotFoundEntity

from src import wire
from src.amqp.confirm_channel import ConfirmChannel, PublishResult
from src.amqp.connections import CONNECTION_ERRORS, Outbound, translate_cancellation
from src.amqp.frames import Message
from src.backoff import Backoff
from src.telemetry import metrics

log = logging.getLogger(__name__)

CONFIRM_TIMEOUT = 10  # seconds: a broker that is up confirms sooner, also while its disk is busy
PROBE_TIMEOUT = 5  # seconds: a broker that is up opens and closes a channel sooner
FIRST_DELAY = 0.1  # seconds: a queue that was full may have room again by then
LONGEST_DELAY = 2  # seconds: the batch holds its deliveries until its messages are confirmed


class RetryPolicy(Enum):
    """Until when to publish a message again. The value is whether to retry refused ones, and the most losses.

    A loss is that of the connection before the broker confirms the message: the broker may have it or not.
    """

    UNTIL_CONFIRMED = True, math.inf
    UNTIL_REFUSED = False, math.inf
    UNTIL_REFUSED_OR_LOST_THRICE = False, 3  # for messages that may be the reason why the broker closes the connection

    def __init__(self, retry_refused: bool, max_losses: float) -> None:  # noqa: FBT001 - the members' values
        self.retry_refused = retry_refused
        self.max_losses = max_losses

    def retries(self, result: PublishResult, attempts: int) -> bool:
        """Whether to publish a message again that has this result after so many attempts."""
        match result:
            case PublishResult.CONFIRMED:
                return False
            case PublishResult.REFUSED:
                return self.retry_refused
            case PublishResult.CONNECTION_LOST:
                return attempts < self.max_losses
            case PublishResult.EXCHANGE_MISSING:
                return True
            case _:
                assert_never(result)


class Publisher:
    """Publishes over a connection of its own: a broker that is short of memory stops reading from publishers.

    Each exchange has its own channel, because the broker closes a channel that publishes to a missing exchange.
    ``restore`` declares the missing topology.
    """

    def __init__(self, outbound: Outbound, restore: Callable[[], Awaitable[None]]) -> None:
        self._outbound = outbound
        self._restore = restore
        self._channels: dict[str, ConfirmChannel] = {}
        self._opening = asyncio.Lock()

    async def publish(self, messages: Sequence[Message], policy: RetryPolicy) -> list[bool]:
        """Return for each message whether the broker confirmed it. Wait while the connection is down or blocked."""
        confirmed, pending, singly = [False] * len(messages), list(range(len(messages))), False
        backoff, attempts = None, 0
        while pending:
            attempts += 1
            if not (self._outbound.connection and self._outbound.connection.is_ready):
                with metrics.BROKER.waiting(self):
                    await self._outbound.ready()
            attempted = [messages[index] for index in pending]
            results = await (self._attempt_singly(attempted, policy) if singly else self._attempt(attempted))
            singly = singly or PublishResult.CONNECTION_LOST in results
            for index, result in zip(pending, results, strict=True):
                confirmed[index] = result is PublishResult.CONFIRMED
            if failed := len(pending) - results.count(PublishResult.CONFIRMED):
                log.warning("%d of %d messages were refused or lost with the connection", failed, len(pending))
            pending = [
                index for index, result in zip(pending, results, strict=True) if policy.retries(result, attempts)
            ]
            if PublishResult.EXCHANGE_MISSING in results:
                await self._restore()
            if pending:
                backoff = backoff or Backoff(FIRST_DELAY, LONGEST_DELAY)
                await backoff.pause()
        return confirmed

    async def _attempt_singly(self, messages: Sequence[Message], policy: RetryPolicy) -> list[PublishResult]:
        """Publish one message after the other, so that one that makes the broker close the connection harms no other.

        Give up a direct reply with which the connection was lost, as the broker closes it for an address that no
        client has. After ``max_losses`` losses give up all direct replies.
        """
        results: list[PublishResult] = []
        losses = 0
        for message in messages:
            direct = not message.exchange and message.routing_key.startswith(wire.DIRECT_REPLY_TO)
            result = PublishResult.REFUSED
            if not direct or losses < policy.max_losses:
                (result,) = await self._attempt([message])
                losses += result is PublishResult.CONNECTION_LOST
            results.append(PublishResult.REFUSED if direct and result is PublishResult.CONNECTION_LOST else result)
        return results

    async def _attempt(self, messages: Sequence[Message]) -> list[PublishResult]:
        """Publish once, to all exchanges concurrently."""
        exchanges = list(dict.fromkeys(message.exchange for message in messages))
        groups = [[message for message in messages if message.exchange == exchange] for exchange in exchanges]
        found = await asyncio.gather(*map(self._send, exchanges, groups))
        results = {exchange: iter(of_exchange) for exchange, of_exchange in zip(exchanges, found, strict=True)}
        return [next(results[message.exchange]) for message in messages]

    async def _send(self, exchange: str, messages: Sequence[Message]) -> list[PublishResult]:
        try:
            channel = await self._get_channel(exchange)
            pending = await channel.publish(messages)
        except CONNECTION_ERRORS:
            return [PublishResult.CONNECTION_LOST] * len(messages)
        closed, ended = channel.channel.closing, asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait({pending.done, closed}, timeout=CONFIRM_TIMEOUT, return_when=ended)
            unconfirmed = (
                PublishResult.CONFIRMED
                if pending.done.done()
                else await self._result_without_confirm(closed, len(messages))
            )
        finally:
            closed.cancel()  # a future of this call's own
        return [result or unconfirmed for result in pending.results]

    async def _result_without_confirm(self, closed: asyncio.Future[None], count: int) -> PublishResult:
        """Return the result of messages without a confirm. Of several, any may be why the broker closed the channel."""
        if closed.done():
            reason = None if closed.cancelled() else closed.exception()
            if isinstance(reason, ChannelNotFoundEntity):
                return PublishResult.EXCHANGE_MISSING
            refused = count == 1 and isinstance(reason, AMQPChannelError)
        else:
            refused = await self._is_answering()
        return PublishResult.REFUSED if refused else PublishResult.CONNECTION_LOST

    async def _is_answering(self) -> bool:
        """Whether the broker answers. Over a blocked or dead connection it confirms and refuses nothing."""
        try:
            with translate_cancellation():
                async with asyncio.timeout(PROBE_TIMEOUT):
                    channel = await self._outbound.open_channel()
                    await channel.close()
        except CONNECTION_ERRORS:
            return False
        return True

    async def _get_channel(self, exchange: str) -> ConfirmChannel:
        async with self._opening:
            channel = self._channels.get(exchange)
            if channel is None or channel.channel.is_closed:
                channel = ConfirmChannel()
                with translate_cancellation():
                    channel.channel = await self._outbound.open_channel(channel.handle_frame)
                self._channels[exchange] = channel
            return channel
