"""The subscribers of the service's queues: take, decode, apply, publish, ack.

The unacked delivery is the outbox. A change and its outcome commit together, and a delivery is acked after its reply
and events are confirmed. After a crash anywhere, the redelivery finds the stored outcome and publishes it again. There
is no relay, no poll and no outbox table.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from src.amqp.batch import Batch
from src.amqp.batch_subscriber import Handler
from src.amqp.frames import Delivery
from src.consumers.decoder import Decoder, dead_letter_reason
from src.consumers.messages import Received, Settled
from src.consumers.outage import LONGEST_OUTAGE, NOT_READ, OutageDeadline, OutageRetry, answering_late
from src.consumers.poison import SURVIVED, PoisonMessages
from src.consumers.request_batch import Apply, Outcomes, RequestBatch
from src.consumers.settlement import Settlement
from src.consumers.stage_timer import StageTimer
from src.database import Database
from src.entity import Operation
from src.errors import DeadlineExceeded, DeliveryLimit, UnknownOperation
from src.processing.attempts import Attempts
from src.processing.read_batch import BatchReader
from src.processing.request import Request
from src.processing.unit_of_work import UnitOfWork
from src.telemetry import metrics

if TYPE_CHECKING:
    from src.consumers.rate_limit import RateLimit

OVER_LIMIT = "delivery_limit"  # RabbitMQ's reason where a quorum queue has delivered a message too often

type Decode = Callable[[Delivery], Received[Operation]]


@dataclass(frozen=True)
class Subscriber:
    """Serves the batches of a queue. ``name`` is its label in the metrics."""

    name: str
    decode: Decode
    apply: Apply
    settlement: Settlement

    async def serve(self, batch: Batch) -> None:
        """Take, decode, apply, publish, ack. A batch is not acked where any of these raises."""
        metrics.BATCHES.labels(self.name).observe(len(batch.deliveries))
        timer = StageTimer(self.name, batch.since)
        timer.end("queued")
        received = [self.decode(delivery) for delivery in batch.deliveries]
        timer.end("decoded")
        requests = RequestBatch(batch, self.name, timer, dict(enumerate(received)))
        async for outcomes in self.apply(requests):
            settled = [Settled(requests.unsettled.pop(position), outcome) for position, outcome in outcomes]
            await self.settlement.publish(settled)
            timer.end("publish")
        await batch.ack()


class Subscribers:
    """The handler of each queue. Reads wait ``read_ttl`` seconds for the database."""

    def __init__(
        self,
        decoder: Decoder[Operation],
        unit_of_work: UnitOfWork,
        reader: BatchReader,
        settlement: Settlement,
        database: Database,
        read_ttl: float,
        rate_limit: "RateLimit | None" = None,
    ) -> None:
        self._decoder = decoder
        self._writes, self._reads = decoder.only(writes=True), decoder.only(writes=False)
        self._unit_of_work = unit_of_work
        self._reader = reader
        self.without_key = 0  # writes that were applied at least once: copies of them cannot be recognized
        self.poison = PoisonMessages(Attempts(database, survived_errors=SURVIVED), settlement, decoder.reject)
        outage = OutageRetry(database, partial(OutageDeadline, LONGEST_OUTAGE))
        read_deadline = OutageDeadline(read_ttl)  # of all reads: those that arrive late in an outage wait less
        read_outage = OutageRetry(database, lambda: read_deadline)

        def limited(apply: Apply) -> Apply:
            return rate_limit.limited(apply, decoder.reject) if rate_limit else apply

        def subscriber(name: str, decode: Decode, apply: Apply) -> Handler:
            return Subscriber(name, decode, apply, settlement).serve

        isolating = self.poison.isolating
        write, read = outage.retrying(self._write), answering_late(read_outage.retrying(self._read))
        late = subscriber("reads", self._too_late, _reject)
        self.write = isolating(subscriber("writes", self._writes.decode, limited(write)), outage)
        self.read = isolating(subscriber("reads", self._reads.decode, limited(_rejecting(read))), read_outage, late)
        self.expired = isolating(subscriber("expired", self._given_up, write), outage)
        self.unrouted = isolating(subscriber("unrouted", self._unknown, _reject), outage)

    async def _write(self, requests: RequestBatch) -> AsyncIterator[Outcomes]:
        """Apply writes exactly once, in order. Rejected requests take part: they may have been served before."""
        asked = [received.request for received in requests.unsettled.values()]
        outcomes = await self._unit_of_work.apply(asked)
        requests.timer.end("transaction")
        valid = (request for request in asked if isinstance(request, Request))
        self.without_key += sum(request.key is None and not request.dry_run for request in valid)
        yield list(zip(requests.unsettled, outcomes, strict=True))

    async def _read(self, requests: RequestBatch) -> AsyncIterator[Outcomes]:
        """Read in statements that requests share, without an order."""
        valid = requests.valid
        positions = list(valid)
        async for outcomes in self._reader.apply(list(valid.values())):
            requests.timer.end("transaction")
            yield [(positions[index], outcome) for index, outcome in outcomes]

    def _too_late(self, delivery: Delivery) -> Received[Operation]:
        return self._reads.reject(delivery, DeadlineExceeded(NOT_READ))

    def _given_up(self, delivery: Delivery) -> Received[Operation]:
        """Reject a write that its queue has given up. One that was served before is answered with its outcome."""
        late = DeadlineExceeded() if self._writes.knows(delivery) else UnknownOperation()
        return self._writes.reject(delivery, DeliveryLimit() if dead_letter_reason(delivery) == OVER_LIMIT else late)

    def _unknown(self, delivery: Delivery) -> Received[Operation]:
        return self._decoder.reject(delivery, UnknownOperation())


async def _reject(requests: RequestBatch) -> AsyncIterator[Outcomes]:
    """Answer requests that are all rejected, without the database."""
    yield requests.rejected


def _rejecting(apply: Apply) -> Apply:
    """Return an ``apply`` that answers rejected requests first, without waiting for the database."""

    async def reject_and_apply(requests: RequestBatch) -> AsyncIterator[Outcomes]:
        if rejected := requests.rejected:
            yield rejected
        if requests.unsettled:
            async for outcomes in apply(requests):
                yield outcomes

    return reject_and_apply
