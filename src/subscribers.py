"""RabbitMQ in: take, decode, apply, publish, ack.

The unacked delivery is the outbox. A change and its outcome commit together, and a delivery is acked after its answer
and events are confirmed, so that a crash anywhere means a redelivery that finds the stored outcome and publishes it
again. There is no relay, no poll and no outbox table.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator, Sequence

from src import database, pauses, wire
from src.amqp.batches import Batch, Pause
from src.amqp.decoder import Decoder, Received, expired
from src.amqp.frames import Delivery
from src.amqp.outgoing import Message, Settled, failure, parked
from src.amqp.publisher import FOREVER, ONCE, UNLESS_REFUSED, Publisher
from src.entity import Operation
from src.errors import DeadlineExceeded, Unavailable, UnknownOperation
from src.work.reader import Reader
from src.work.requests import Outcome, Refused, Request, State
from src.work.unit_of_work import Asked, UnitOfWork

log = logging.getLogger(__name__)

LONGEST_OUTAGE = 20 * 60  # seconds that a batch is kept; less than the broker's consumer timeout of 30 minutes


class Subscribers:
    """What is done with the batches of each queue."""

    def __init__(
        self,
        decoder: Decoder[Operation],
        unit_of_work: UnitOfWork,
        reader: Reader,
        publisher: Publisher,
        replier: Publisher,
        db: database.Database,
        names: wire.Names,
    ) -> None:
        self._decoder = decoder
        self._writes = decoder.only(writes=True)
        self._reads = decoder.only(writes=False)
        self._unit_of_work = unit_of_work
        self._reader = reader
        self._publisher = publisher
        self._replier = replier
        self._database = db
        self._names = names
        self.unkeyed = 0  # writes served at least once, for they had no message_id

    async def write(self, batch: Batch) -> None:
        """Requests that change something: exactly once, in order."""
        received = [self._writes.decode(delivery) for delivery in batch.deliveries]
        self.unkeyed += sum(each.unkeyed for each in received)
        outcomes = await self._apply(batch, [each.request for each in received])
        await self._publish(list(map(Settled, received, outcomes)))
        await batch.ack()

    async def read(self, batch: Batch) -> None:
        """Requests that only read. While the database is away they go back to their queue, and expire there."""
        received = [self._reads.decode(delivery) for delivery in batch.deliveries]
        asking = {id(each.request): each for each in received}
        settled = _settled(received)
        try:
            async for answered in self._reader.apply(_requests(received)):
                await self._publish(settled + [Settled(asking[id(one)], outcome) for one, outcome in answered])
                settled = []
        except Unavailable as error:
            raise Pause(str(error)) from error
        await batch.ack()

    async def unrouted(self, batch: Batch) -> None:
        """Requests that nobody is bound for, and reads that waited too long."""
        await self._publish(_settled([self._unserved(delivery) for delivery in batch.deliveries]))
        await batch.ack()

    def _unserved(self, delivery: Delivery) -> Received[Operation]:
        late = expired(delivery) and self._decoder.knows(delivery)
        problem = DeadlineExceeded("The service could not read in time.") if late else UnknownOperation()
        return self._decoder.refuse(delivery, problem)

    async def _apply(self, batch: Batch, asked: Asked) -> list[Outcome]:
        """Through an outage: the batch is kept, so that order is, and tried again when a probe succeeds."""
        pausing, until = pauses.growing(), asyncio.get_running_loop().time() + LONGEST_OUTAGE
        while True:
            try:
                return await self._unit_of_work.apply(asked)
            except Unavailable as error:
                log.warning("waiting for the database with %d requests: %s", len(asked), error)
            await self._outlast(batch, pausing, until)

    async def _outlast(self, batch: Batch, pausing: Iterator[float], until: float) -> None:
        """Return when the database answers. Raises Pause where the batch cannot be kept as long as that."""
        for pause in pausing:
            await pauses.wait(batch.stopping, pause)
            if batch.stopping.is_set() or batch.channel.is_closed or asyncio.get_running_loop().time() > until:
                raise Pause("the database does not answer")
            try:
                await self._database.probe()
            except Unavailable as error:
                log.warning("still waiting for the database: %s", error)
            else:
                return

    async def _publish(self, settled: Sequence[Settled]) -> None:
        """Answers and events together; then the dead letters, of requests that nobody else would hear of."""
        for each in settled:
            if each.outcome.state is State.FAILED:
                log.error("%s failed: %s", each.received.delivery.routing_key, failure(each.outcome))
        answered, _ = await asyncio.gather(
            self._answer(settled), self._announce([event for each in settled for event in each.events(self._names)])
        )
        letters = [
            letter
            for each, heard in zip(settled, answered, strict=True)
            for letter in each.dead_letters(self._names, answered=heard)
        ]
        for letter in letters:
            log.warning("dead letter: %s", (letter.properties.headers or {})[wire.REASON])
        await self._publisher.publish(letters, FOREVER)

    async def _answer(self, settled: Sequence[Settled]) -> list[bool]:
        """Of each delivery, whether the broker has taken its answer, if there is one."""
        replies = [each.replies() for each in settled]
        taken = iter(await self._replier.publish(list(itertools.chain.from_iterable(replies)), ONCE))
        return [all(tuple(itertools.islice(taken, len(own)))) for own in replies]

    async def _announce(self, events: Sequence[Message]) -> None:
        """What a subscriber's full queue refuses is parked, so that one subscriber never stops or slows all writers."""
        taken = await self._publisher.publish(events, UNLESS_REFUSED)
        if refused := [parked(event, self._names) for event, was in zip(events, taken, strict=True) if not was]:
            log.warning("%d events are parked: a queue that is bound to %s is full", len(refused), self._names.events)
            await self._publisher.publish(refused, FOREVER)


def _requests(received: Sequence[Received[Operation]]) -> list[Request[Operation]]:
    return [each.request for each in received if isinstance(each.request, Request)]


def _settled(received: Sequence[Received[Operation]]) -> list[Settled]:
    """Those that are not to be served, with their refusals."""
    return [Settled(each, each.request.outcome) for each in received if isinstance(each.request, Refused)]
