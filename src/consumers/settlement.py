"""Settlement: publish what follows from the outcomes of a batch, before it is acked.

What follows from an outcome:

===========================================  =======  ======  ==============================
a delivery and its outcome                   reply    events  dead letter, under which reason
===========================================  =======  ======  ==============================
served                                       yes      yes     –
rejected                                     yes      yes     –
rejected, a write without a reply address    –        yes     the problem
rejected, a write whose reply was refused    refused  yes     ``unanswered``, but for a direct reply-to
failed, a write                              yes      –       the problem
killed the process, a read as well           yes      –       ``kills-process``
any other read                               yes      –       –
===========================================  =======  ======  ==============================

A request without a reply address has no reply, a dry run has no event, and a request of an unknown operation counts as
a write. The column of dead letters is decided in ``dead_letter.py``.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from src import errors, wire
from src.amqp.frames import Message
from src.amqp.publisher import Publisher, RetryPolicy
from src.consumers import dead_letter
from src.consumers.messages import Settled, failure, parked
from src.processing.outcome import State
from src.telemetry import metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settlement:
    """Publishes replies over ``replier``, whose connection a forged address may end, all else over ``publisher``."""

    publisher: Publisher
    replier: Publisher
    names: wire.Names

    async def publish(self, settled: Sequence[Settled]) -> None:
        """Publish replies and events side by side, then the dead letters. Return when the broker has confirmed all."""
        for each in settled:
            if each.outcome.state is State.FAILED:
                reason, received = failure(each.outcome), each.received
                fields = received.log_fields | {"reason": reason}
                log.error("%s failed: %s", received.delivery.routing_key, reason, extra=fields)
        if events := [event for each in settled for event in each.events(self.names)]:
            replied, _ = await asyncio.gather(self.reply(settled), self.publish_events(events))
        else:
            replied = await self.reply(settled)
        if any(each.outcome.state is not State.SERVED for each in settled):
            await self.publish_dead_letters(settled, replied)
        self.count(settled)

    async def reply(self, settled: Sequence[Settled]) -> list[bool]:
        """Publish the replies. False where the broker has refused or lost one; True also where there is none."""
        replies = [each.reply() for each in settled]
        taken = iter(
            await self.replier.publish([reply for reply in replies if reply], RetryPolicy.UNTIL_REFUSED_OR_LOST_THRICE)
        )
        return [reply is None or next(taken) for reply in replies]

    async def publish_events(self, events: Sequence[Message]) -> None:
        """Publish events. An event that the full queue of one subscriber refuses is parked, and delays no other."""
        taken = await self.publisher.publish(events, RetryPolicy.UNTIL_REFUSED)
        if refused := [parked(event, self.names) for event, was in zip(events, taken, strict=True) if not was]:
            log.warning("%d events are parked: a queue that is bound to %s is full", len(refused), self.names.events)
            metrics.PARKED.inc(len(refused))
            await self.publisher.publish(refused, RetryPolicy.UNTIL_CONFIRMED)

    async def publish_dead_letters(self, settled: Sequence[Settled], replied: Sequence[bool]) -> None:
        """Publish the requests that nobody would hear of otherwise, until the broker has taken each of them."""
        dead_letters = []
        for each, heard in zip(settled, replied, strict=True):
            if reason := dead_letter.reason(each, replied=heard):
                received = each.received
                about = (received.delivery.routing_key, received.properties.message_id, reason)
                log.warning("dead letter: %r %r: %s", *about, extra=received.log_fields | {"reason": reason})
                metrics.DEAD_LETTERS.labels(reason.removeprefix(errors.PREFIX)).inc()
                dead_letters.append(dead_letter.message(each, reason, self.names))
        if dead_letters:
            await self.publisher.publish(dead_letters, RetryPolicy.UNTIL_CONFIRMED)

    def count(self, settled: Sequence[Settled]) -> None:
        """Count the requests by operation and outcome."""
        counted = Counter([(each.received.operation, each.outcome.type) for each in settled])
        for (operation, kind), number in counted.items():
            key = operation.key if operation else metrics.UNKNOWN
            outcome = kind.removeprefix(errors.PREFIX) if kind.startswith(errors.PREFIX) else metrics.SERVED
            metrics.REQUESTS.labels(key, outcome).inc(number)
