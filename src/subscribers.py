"""RabbitMQ in: take, decode, apply, publish, ack.

The unacked delivery is the outbox. A change and its outcome commit together, and a delivery is acked after its answer
and events are confirmed, so that a crash anywhere means a redelivery that finds the stored outcome and publishes it
again. There is no relay, no poll and no outbox table.
"""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace

from src import database, errors, pauses, telemetry, wire
from src.amqp.batches import TOLERATED, Batch, Handler, Pause
from src.amqp.decoder import Decoder, Received, died
from src.amqp.frames import Delivery
from src.amqp.outgoing import Message, Settled, failure, parked
from src.amqp.publisher import FOREVER, ONCE, UNLESS_REFUSED, Publisher
from src.entity import Operation
from src.errors import DeadlineExceeded, DeliveryLimit, Internal, Transient, Unavailable, UnknownOperation
from src.telemetry import Laps
from src.work.careful import Attempt, Suspects, digest
from src.work.reader import Answered, Reader
from src.work.requests import Outcome, Refused, Request, State
from src.work.unit_of_work import Asked, UnitOfWork

log = logging.getLogger(__name__)

OVER_LIMIT = "delivery_limit"  # RabbitMQ's word
DEADLY = "The service died each time that it served this request; its operators were told."
LONGEST_OUTAGE = 20 * 60  # seconds that a batch is kept; less than the broker's consumer timeout of 30 minutes


class Subscribers:
    """What is done with the batches of each queue. ``read_ttl`` is how many seconds reads wait for the database."""

    def __init__(
        self,
        decoder: Decoder[Operation],
        unit_of_work: UnitOfWork,
        reader: Reader,
        publisher: Publisher,
        replier: Publisher,
        db: database.Database,
        names: wire.Names,
        read_ttl: float,
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
        self._read_ttl = read_ttl
        self._reads_until: float | None = None  # of the loop's time: how long the present outage is waited out
        self.unkeyed = 0  # writes served at least once, for they had no message_id

    async def carefully(self, batch: Batch, serve: Handler, late: Handler | None = None) -> None:
        """Serve a batch; a suspect after its attempt was counted, and not at all when it has killed too often.

        Where it cannot be counted it waits, until it is ``late`` if it may be.
        """
        if not batch.suspect:
            await serve(batch)
            return
        telemetry.CAREFUL.inc()
        attempt = Attempt(_key(batch.deliveries[0]))
        async with self._suspects.alone:
            try:
                way = await self._way(attempt, batch, serve, late)
                await way(batch)
            except (*TOLERATED, asyncio.CancelledError):  # the process lives, or is told to end
                await self._suspects.take_back(attempt)
                raise
            await self._suspects.acquit(attempt)

    async def write(self, batch: Batch) -> None:
        """Requests that change something: exactly once, in order."""
        laps = _taken(batch, "writes")
        received = [self._writes.decode(delivery) for delivery in batch.deliveries]
        laps.end("decoded")
        self.unkeyed += sum(each.unkeyed for each in received)
        await self._serve(batch, received, laps)

    async def read(self, batch: Batch) -> None:
        """Requests that only read. They wait for the database as long as somebody may wait for them."""
        laps = _taken(batch, "reads")
        received = [self._reads.decode(delivery) for delivery in batch.deliveries]
        laps.end("decoded")
        asking, settled = {id(each.request): each for each in received}, _settled(received)
        async for answered in self._read(batch, _requests(received), laps):
            settled += [Settled(asking[id(request)], outcome) for request, outcome in answered]
            await self._publish(settled, laps)
            settled = []
        await batch.ack()

    async def late(self, batch: Batch) -> None:
        """Reads that nobody can serve now."""
        laps = _taken(batch, "reads")
        received = [self._reads.refuse(delivery, _late()) for delivery in batch.deliveries]
        await self._publish(_settled(received), laps)
        await batch.ack()

    async def expired(self, batch: Batch) -> None:
        """Writes that their partition has given up. They are served no more; what was served before is answered."""
        laps = _taken(batch, "expired")
        received = [self._given_up(delivery) for delivery in batch.deliveries]
        laps.end("decoded")
        await self._serve(batch, received, laps)

    async def unrouted(self, batch: Batch) -> None:
        """Requests that nobody is bound for."""
        laps = _taken(batch, "unrouted")
        received = [self._decoder.refuse(delivery, UnknownOperation()) for delivery in batch.deliveries]
        laps.end("decoded")
        await self._publish(_settled(received), laps)
        await batch.ack()

    def _given_up(self, delivery: Delivery) -> Received[Operation]:
        late = DeadlineExceeded() if self._writes.knows(delivery) else UnknownOperation()
        return self._writes.refuse(delivery, DeliveryLimit() if died(delivery) == OVER_LIMIT else late)

    async def _serve(self, batch: Batch, received: Sequence[Received[Operation]], laps: Laps) -> None:
        outcomes = await self._apply(batch, [each.request for each in received], laps)
        laps.end("transaction")
        await self._publish(list(map(Settled, received, outcomes)), laps)
        await batch.ack()

    async def _way(self, attempt: Attempt, batch: Batch, serve: Handler, late: Handler | None) -> Handler:
        """What is done with a suspect. Its window is kept meanwhile, or what comes back would be suspects, too."""
        pausing, until = pauses.growing(), _time() + LONGEST_OUTAGE
        while True:
            try:
                return serve if await self._suspects.begin(attempt) else self._give_up
            except (Transient, Unavailable) as error:
                log.warning("waiting for the database with a suspect: %s", error)
            if late:
                until = self._reads_until = self._reads_until or _time() + self._read_ttl
            if not await self._outlast(batch, pausing, until):
                if late is None:
                    raise Pause("the database does not answer")
                return late

    async def _give_up(self, batch: Batch) -> None:
        """A dead letter first, and answered when its queue has forgotten it: the answer may be what kills."""
        (delivery,) = batch.deliveries
        problem = Internal(DEADLY)
        received = self._decoder.refuse(delivery, problem)
        settled = Settled(received, replace(Outcome.of(problem), state=State.DEADLY))
        log.error(
            "%s has killed the process again and again: a dead letter", delivery.routing_key, extra=received.traits
        )
        await self._bury([settled], [True])
        await batch.ack()
        await self._replier.publish(settled.replies(), ONCE)
        _count([settled])

    async def _apply(self, batch: Batch, asked: Asked, laps: Laps) -> list[Outcome]:
        """Through an outage: the batch is kept, so that order is, and tried again when a probe succeeds."""
        pausing, until = pauses.growing(), _time() + LONGEST_OUTAGE
        while True:
            try:
                return await self._unit_of_work.apply(asked)
            except Unavailable as error:
                log.warning("waiting for the database with %d requests: %s", len(asked), error)
            if not await self._outlast(batch, pausing, until):
                raise Pause("the database does not answer")
            laps.end("waited")

    async def _read(
        self, batch: Batch, requests: Sequence[Request[Operation]], laps: Laps
    ) -> AsyncIterator[list[Answered]]:
        """Through an outage of ``read_ttl``. In a longer one each read is answered at once that it could not be."""
        pausing, left = pauses.growing(), {id(request): request for request in requests}
        while True:
            try:
                async for answered in self._reader.apply([*left.values()]):
                    laps.end("transaction")
                    yield answered
                    left = {key: left[key] for key in left.keys() - {id(request) for request, _ in answered}}
            except Unavailable as error:
                log.warning("waiting for the database with %d reads: %s", len(left), error)
            else:
                self._reads_until = None if requests else self._reads_until
                return
            self._reads_until = self._reads_until or _time() + self._read_ttl
            if not await self._outlast(batch, pausing, self._reads_until):
                late = Outcome.of(_late())
                yield [(request, late) for request in left.values()]
                return
            laps.end("waited")

    async def _outlast(self, batch: Batch, pausing: Iterator[float], until: float) -> bool:
        """Whether the database answers before that time. Raises Pause where the batch cannot be kept as long."""
        while (left := until - _time()) > 0:
            await pauses.wait(batch.stopping, min(left, next(pausing)))
            if batch.stopping.is_set() or batch.channel.is_closed:
                raise Pause("the database does not answer")
            try:
                await self._database.probe()
            except Unavailable as error:
                log.warning("still waiting for the database: %s", error)
            else:
                return True
        return False

    async def _publish(self, settled: Sequence[Settled], laps: Laps) -> None:
        """Answers and events together; then the dead letters, of requests that nobody else would hear of."""
        for each in settled:
            if each.outcome.state is State.FAILED:
                reason = failure(each.outcome)
                told = each.received.traits | {"reason": reason}
                log.error("%s failed: %s", each.received.delivery.routing_key, reason, extra=told)
        answered, _ = await asyncio.gather(
            self._answer(settled), self._announce([event for each in settled for event in each.events(self._names)])
        )
        await self._bury(settled, answered)
        laps.end("publish")
        _count(settled)

    async def _bury(self, settled: Sequence[Settled], answered: Sequence[bool]) -> None:
        """Put those that nobody else would hear of into the queue of dead letters, however long that takes."""
        letters = []
        for each, heard in zip(settled, answered, strict=True):
            for letter in each.dead_letters(self._names, answered=heard):
                reason = str((letter.properties.headers or {})[wire.REASON])
                about = (letter.routing_key, letter.properties.message_id, reason)
                log.warning("dead letter: %r %r: %s", *about, extra=each.received.traits | {"reason": reason})
                telemetry.DEAD_LETTERS.labels(reason.removeprefix(errors.PREFIX)).inc()
                letters.append(letter)
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
            telemetry.PARKED.inc(len(refused))
            await self._publisher.publish(refused, FOREVER)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The service could not read in time.")


def _time() -> float:
    return asyncio.get_running_loop().time()


def _key(delivery: Delivery) -> bytes:
    """What is the same for each delivery of a request, whose body may be what kills."""
    told = delivery.properties
    who = (told.user_id, told.message_id, told.correlation_id, told.reply_to)
    return digest(*who, delivery.routing_key, body=delivery.body)


def _taken(batch: Batch, subscriber: str) -> Laps:
    """The laps of the batch, of which the first is over: nobody had taken it."""
    telemetry.BATCHES.labels(subscriber).observe(len(batch.deliveries))
    laps = Laps(subscriber, batch.since)
    laps.end("queued")
    return laps


def _count(settled: Sequence[Settled]) -> None:
    counted = Counter([(each.received.operation, each.outcome.type) for each in settled])
    for (operation, kind), number in counted.items():
        key = operation.key if operation else telemetry.UNKNOWN
        outcome = kind.removeprefix(errors.PREFIX) if kind.startswith(errors.PREFIX) else telemetry.SERVED
        telemetry.REQUESTS.labels(key, outcome).inc(number)


def _requests(received: Sequence[Received[Operation]]) -> list[Request[Operation]]:
    return [each.request for each in received if isinstance(each.request, Request)]


def _settled(received: Sequence[Received[Operation]]) -> list[Settled]:
    """Those that are not to be served, with their refusals."""
    return [Settled(each, each.request.outcome) for each in received if isinstance(each.request, Refused)]
