"""Poison messages: a request that may be what kills the process is isolated, and given up after too many deaths.

The attempt at a suspected request is counted in the database before its body is decoded.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from src.amqp.batch import Batch
from src.amqp.batch_subscriber import RECOVERABLE_ERRORS, Handler
from src.amqp.frames import Delivery
from src.consumers.messages import Received, Settled
from src.consumers.outage import OutageRetry, StillUnavailable
from src.consumers.settlement import Settlement
from src.entity import Operation
from src.errors import Internal, Problem
from src.processing.attempts import Attempts, request_key
from src.processing.outcome import Outcome, State
from src.telemetry import metrics

log = logging.getLogger(__name__)

SURVIVED = (*RECOVERABLE_ERRORS, asyncio.CancelledError)
"""What an attempt may raise without being counted as a death; an attempt is cancelled when the service is stopped."""

KILLED = "The service died each time that it served this request; its operators were told."


@dataclass(frozen=True)
class PoisonMessages:
    """Isolates suspected requests. ``reject`` makes a rejected request of a delivery without reading its body."""

    attempts: Attempts
    settlement: Settlement
    reject: Callable[[Delivery, Problem], Received[Operation]]

    def isolating(self, serve: Handler, outage: OutageRetry, late: Handler | None = None) -> Handler:
        """Return a handler that serves a suspected request after it has counted the attempt.

        A request with too many attempts is given up. Where the database does not count the attempt before the outage
        deadline, the request goes to ``late``; without ``late`` the handler raises StillUnavailable. The batch is kept
        meanwhile: the deliveries of a window that is given back would all be suspected.
        """

        async def isolate(batch: Batch) -> None:
            if not batch.suspected:
                await serve(batch)
                return
            metrics.ISOLATED.inc()
            metrics.CAREFUL.inc()
            async with self.attempts.attempt(_key(batch.deliveries[0])) as count_attempt:
                try:
                    allowed = await outage.retry_until_available(count_attempt, batch)
                except StillUnavailable:
                    if late is None:
                        raise
                    await late(batch)
                else:
                    await (serve if allowed else self._give_up)(batch)

        return isolate

    async def _give_up(self, batch: Batch) -> None:
        """Publish the dead letter, ack, and reply after that: the reply may be what kills the process."""
        (delivery,) = batch.deliveries
        problem = Internal(KILLED)
        settled = [Settled(self.reject(delivery, problem), replace(Outcome.of(problem), state=State.DEADLY))]
        fields = settled[0].received.log_fields
        log.error("%s has killed the process again and again: a dead letter", delivery.routing_key, extra=fields)
        await self.settlement.publish_dead_letters(settled, [True])
        await batch.ack()
        await self.settlement.reply(settled)
        self.settlement.count(settled)


def _key(delivery: Delivery) -> bytes:
    """Return the same key for each delivery of a request, without decoding its body."""
    properties = delivery.properties
    origin = (properties.user_id, properties.message_id, properties.correlation_id, properties.reply_to)
    return request_key(*origin, delivery.routing_key, body=delivery.body)
