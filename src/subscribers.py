"""RabbitMQ in: take, decode, apply, publish, ack.

The unacked delivery is the outbox. A change and its outcome commit together, and a delivery is acked after its answer
and events are confirmed, so that a crash anywhere means a redelivery that finds the stored outcome and publishes it
again. There is no relay, no poll and no outbox table.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from src import database, pauses, wire
from src.amqp.batches import TOLERATED, Batch, Handler, Pause
from src.amqp.decoder import Decoder, Received, expired
from src.amqp.frames import Delivery
from src.amqp.outgoing import Message, Settled, failure
from src.amqp.publisher import FOREVER, ONCE, Publisher, Tries
from src.entity import Operation
from src.errors import DeadlineExceeded, Internal, Transient, Unavailable, UnknownOperation
from src.work.careful import Attempt, Suspects, digest
from src.work.reader import Reader
from src.work.requests import Outcome, Refused, Request, State
from src.work.unit_of_work import Asked, UnitOfWork

log = logging.getLogger(__name__)

DEADLY = "The service died each time that it served this request; its operators were told."
PAUSE = 5  # seconds before a suspect that could not be counted goes back to its queue
LONGEST_OUTAGE = 20 * 60  # seconds that a batch is kept; less than the broker's consumer timeout of 30 minutes


class Subscribers:
    """What is done with the batches of each queue. ``event_tries`` is how often an event is published."""

    def __init__(
        self,
        decoder: Decoder[Operation],
        unit_of_work: UnitOfWork,
        reader: Reader,
        publisher: Publisher,
        replier: Publisher,
        db: database.Database,
        names: wire.Names,
        event_tries: Tries,
    ) -> None:
        self._decoder = decoder
        self._writes = decoder.only(writes=True)
        self._reads = decoder.only(writes=False)
        self._unit_of_work = unit_of_work
        self._reader = reader
        self._publisher = publisher
        self._replier = replier
        self._database = db
        self._suspects = Suspects(db)
        self._names = names
        self._event_tries = event_tries
        self.unkeyed = 0  # writes served at least once, for they had no message_id

    async def carefully(self, batch: Batch, serve: Handler) -> None:
        """Serve a batch; a suspect after its attempt was counted, and not at all when it has killed too often."""
        if not batch.suspect:
            await serve(batch)
            return
        attempt = Attempt(_key(batch.deliveries[0]))
        async with self._suspects.alone:
            try:
                serve_or_give_up = serve if await self._begin(attempt, batch) else self._give_up
                await serve_or_give_up(batch)
            except (*TOLERATED, asyncio.CancelledError):  # the process lives, or is told to end
                await self._suspects.take_back(attempt)
                raise
            await self._suspects.acquit(attempt)

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
        try:
            outcomes = await self._reader.apply(_requests(received))
        except Unavailable as error:
            raise Pause(str(error)) from error
        await self._publish(_settled(received, outcomes))
        await batch.ack()

    async def unrouted(self, batch: Batch) -> None:
        """Requests that nobody is bound for, and reads that waited too long."""
        await self._publish(_settled([self._unserved(delivery) for delivery in batch.deliveries]))
        await batch.ack()

    async def _begin(self, attempt: Attempt, batch: Batch) -> bool:
        """Whether the attempt may be made. Raises Pause where it could not be counted."""
        try:
            return await self._suspects.begin(attempt)
        except (Transient, Unavailable) as error:
            await pauses.wait(batch.stopping, PAUSE)
            raise Pause(str(error)) from error

    async def _give_up(self, batch: Batch) -> None:
        """A dead letter first, and answered when its queue has forgotten it: the answer may be what kills."""
        (delivery,) = batch.deliveries
        received = self._decoder.refuse(delivery, Internal(DEADLY))
        settled = Settled(received, replace(Outcome.of(Internal(DEADLY)), state=State.DEADLY))
        log.error("%s has killed the process again and again: a dead letter", delivery.routing_key)
        await self._publisher.publish(settled.dead_letters(self._names, answered=True, announced=True), FOREVER)
        await batch.ack()
        await self._replier.publish(settled.replies(), ONCE)

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
        answered, announced = await asyncio.gather(
            _publish(self._replier, [each.replies() for each in settled], ONCE),
            _publish(self._publisher, [each.events(self._names) for each in settled], self._event_tries),
        )
        letters = [
            letter
            for each, heard, told in zip(settled, answered, announced, strict=True)
            for letter in each.dead_letters(self._names, answered=heard, announced=told)
        ]
        for letter in letters:
            log.warning("dead letter: %s", (letter.properties.headers or {})[wire.REASON])
        await self._publisher.publish(letters, FOREVER)


async def _publish(publisher: Publisher, messages: Sequence[Sequence[Message]], tries: Tries) -> list[bool]:
    """Of each delivery, whether the broker has taken all of its messages."""
    taken = iter(await publisher.publish(list(itertools.chain.from_iterable(messages)), tries))
    return [all(tuple(itertools.islice(taken, len(own)))) for own in messages]


def _key(delivery: Delivery) -> bytes:
    """What is the same for each delivery of a request, whose body may be what kills."""
    told = delivery.properties
    who = (told.user_id, told.message_id, told.correlation_id, told.reply_to)
    return digest(*who, delivery.routing_key, body=delivery.body)


def _requests(received: Sequence[Received[Operation]]) -> list[Request[Operation]]:
    return [each.request for each in received if isinstance(each.request, Request)]


def _settled(received: Sequence[Received[Operation]], outcomes: Sequence[Outcome] = ()) -> list[Settled]:
    """Each delivery with its outcome: its refusal, or the next of those that were applied."""
    applied = iter(outcomes)
    return [
        Settled(each, each.request.outcome if isinstance(each.request, Refused) else next(applied)) for each in received
    ]
