"""RabbitMQ in: take, decode, apply, publish, ack.

The unacked delivery is the outbox. A change and its outcome commit together, and a delivery is acked after its answer
and events are confirmed, so that a crash anywhere means a redelivery that finds the stored outcome and publishes it
again. There is no relay, no poll and no outbox table.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from src import backoff, database, errors, wire
from src.amqp.batch_subscriber import TOLERATED, Batch, ConsumerPaused, Handler
from src.amqp.frames import Delivery, Message
from src.amqp.publisher import RETRY_ALWAYS, RETRY_IF_LOST, RETRY_TWICE_IF_LOST, Publisher
from src.consumers.decoder import Decoder, Received, died
from src.consumers.messages import Settled, failure, parked
from src.entity import Operation
from src.errors import (
    DeadlineExceeded,
    DeliveryLimit,
    Internal,
    RateLimited,
    Transient,
    Unavailable,
    UnknownOperation,
)
from src.processing.attempts import Attempts, Begin, digest
from src.processing.read_batch import BatchReader
from src.processing.request import Outcome, RejectedRequest, Request, State
from src.processing.unit_of_work import UnitOfWork
from src.telemetry import metrics
from src.telemetry.metrics import StageTimer

log = logging.getLogger(__name__)

OVER_LIMIT = "delivery_limit"  # RabbitMQ's word
NO_ANSWER = "the database does not answer"
DEADLY = "The service died each time that it served this request; its operators were told."
LONGEST_OUTAGE = 20 * 60  # seconds that a batch is kept; less than the broker's consumer timeout of 30 minutes


type Decode = Callable[[Delivery], Received[Operation]]
type Admit = Callable[[Sequence[str]], Awaitable[list[float | None]]]
"""Of each request's sender, the seconds after which to come back; None where the request is to be served."""


class Subscribers:
    """What is done with the batches of each queue. ``read_ttl`` is how many seconds reads wait for the database."""

    def __init__(
        self,
        decoder: Decoder[Operation],
        unit_of_work: UnitOfWork,
        reader: BatchReader,
        publisher: Publisher,
        replier: Publisher,
        db: database.Database,
        names: wire.Names,
        read_ttl: float,
        admit: Admit | None = None,
    ) -> None:
        self._admit = admit
        self._decoder = decoder
        self._writes = decoder.only(writes=True)
        self._reads = decoder.only(writes=False)
        self._unit_of_work = unit_of_work
        self._reader = reader
        self._publisher = publisher
        self._replier = replier
        self._database = db
        self._suspects = Attempts(db, survives=(*TOLERATED, asyncio.CancelledError))  # a cancelled one is told to end
        self._names = names
        self._reading = _Patience(read_ttl)  # of all reads together: who comes late to an outage waits less
        self.unkeyed = 0  # writes served at least once, for they had no message_id

    async def carefully(self, batch: Batch, serve: Handler, late: Handler | None = None) -> None:
        """Serve a batch; a suspect after its attempt was counted, and not at all when it has killed too often.

        Where it cannot be counted it waits, until it is ``late`` if it may be.
        """
        if not batch.suspect:
            await serve(batch)
            return
        metrics.CAREFUL.inc()
        async with self._suspects.attempt(_key(batch.deliveries[0])) as begin:
            way = await self._way(batch, begin, serve, late)
            await way(batch)

    async def write(self, batch: Batch) -> None:
        """Requests that change something: exactly once, in order."""
        decoded, laps = _taken(batch, "writes", self._writes.decode)
        received = await self._limited(decoded, laps)
        self.unkeyed += sum(each.unkeyed for each in received)
        await self._serve(batch, received, laps)

    async def read(self, batch: Batch) -> None:
        """Requests that only read. They wait for the database as long as somebody may wait for them."""
        decoded, laps = _taken(batch, "reads", self._reads.decode)
        received = await self._limited(decoded, laps)
        if refused := _refused(received):
            await self._publish(refused, laps)
        left = {id(each.request): each for each in received if isinstance(each.request, Request)}
        try:
            if left:
                await self._outlast(self._reading, batch, lambda: self._answer_reads(left, laps), laps)
                self._reading.over()
        except _StillDown:
            late = Outcome.of(_late())
            await self._publish([Settled(each, late) for each in left.values()], laps)
        await batch.ack()

    async def late(self, batch: Batch) -> None:
        """Reads that nobody can serve now."""
        await self._refuse(batch, "reads", lambda delivery: self._reads.refuse(delivery, _late()))

    async def expired(self, batch: Batch) -> None:
        """Writes that their partition has given up. They are served no more; what was served before is answered."""
        received, laps = _taken(batch, "expired", self._given_up)
        await self._serve(batch, received, laps)

    async def unrouted(self, batch: Batch) -> None:
        """Requests that nobody is bound for."""
        await self._refuse(batch, "unrouted", lambda delivery: self._decoder.refuse(delivery, UnknownOperation()))

    async def _refuse(self, batch: Batch, subscriber: str, refuse: Decode) -> None:
        received, laps = _taken(batch, subscriber, refuse)
        await self._publish(_refused(received), laps)
        await batch.ack()

    async def _limited(self, received: list[Received[Operation]], laps: StageTimer) -> list[Received[Operation]]:
        """The same, but too many are refused: of these a write that was served before is answered as it was."""
        if self._admit is None:
            return received
        asked = [each for each in received if isinstance(each.request, Request)]
        waits = await self._admit([each.sender for each in asked])
        laps.end("limited")
        refused = {
            id(each): self._decoder.refuse(each.delivery, RateLimited.until(seconds))
            for each, seconds in zip(asked, waits, strict=True)
            if seconds is not None
        }
        return [refused.get(id(each), each) for each in received]

    def _given_up(self, delivery: Delivery) -> Received[Operation]:
        late = DeadlineExceeded() if self._writes.knows(delivery) else UnknownOperation()
        return self._writes.refuse(delivery, DeliveryLimit() if died(delivery) == OVER_LIMIT else late)

    async def _serve(self, batch: Batch, received: Sequence[Received[Operation]], laps: StageTimer) -> None:
        asked = [each.request for each in received]
        outcomes = await self._outlast(_Patience(LONGEST_OUTAGE), batch, lambda: self._unit_of_work.apply(asked), laps)
        laps.end("transaction")
        await self._publish(list(map(Settled, received, outcomes)), laps)
        await batch.ack()

    async def _answer_reads(self, left: dict[int, Received[Operation]], laps: StageTimer) -> None:
        """Serve those that are ``left``, each of which goes from there once it is served."""
        async for answered in self._reader.apply(_requests(left.values())):
            laps.end("transaction")
            await self._publish([Settled(left.pop(id(request)), outcome) for request, outcome in answered], laps)

    async def _way(self, batch: Batch, begin: Begin, serve: Handler, late: Handler | None) -> Handler:
        """What is done with a suspect. Its window is kept meanwhile, or what comes back would be suspects, too."""
        try:
            may = await self._outlast(self._reading if late else _Patience(LONGEST_OUTAGE), batch, begin)
        except _StillDown:
            if late is None:
                raise
            return late
        return serve if may else self._give_up

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
        await self._answer([settled])
        _count([settled])

    async def _outlast[T](
        self, patience: "_Patience", batch: Batch, attempt: Callable[[], Awaitable[T]], laps: StageTimer | None = None
    ) -> T:
        """What the attempt returns, made again when the database is back; the batch is kept, so that order is.

        Raises _StillDown where that takes too long, Pause where the batch cannot be kept as long.
        """
        pausing, what = backoff.growing(), laps.subscriber if laps else "suspects"
        while True:
            try:
                return await attempt()
            except (Transient, Unavailable) as error:
                log.warning("waiting for the database with %d %s: %s", len(batch.deliveries), what, error)
            await self._back(batch, pausing, patience.until())
            if laps:
                laps.end("waited")

    async def _back(self, batch: Batch, pausing: Iterator[float], until: float) -> None:
        """Return when the database answers. Raises as ``_outlast`` does."""
        while (left := until - _time()) > 0:
            await backoff.wait(batch.stopping, min(left, next(pausing)))
            if batch.stopping.is_set() or batch.channel.is_closed:
                raise ConsumerPaused(NO_ANSWER)
            try:
                await self._database.probe()
            except Unavailable as error:
                log.warning("still waiting for the database: %s", error)
            else:
                return
        raise _StillDown(NO_ANSWER)

    async def _publish(self, settled: Sequence[Settled], laps: StageTimer) -> None:
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
            if letter := each.dead_letter(self._names, answered=heard):
                reason = str((letter.properties.headers or {})[wire.REASON])
                about = (letter.routing_key, letter.properties.message_id, reason)
                log.warning("dead letter: %r %r: %s", *about, extra=each.received.traits | {"reason": reason})
                metrics.DEAD_LETTERS.labels(reason.removeprefix(errors.PREFIX)).inc()
                letters.append(letter)
        await self._publisher.publish(letters, RETRY_ALWAYS)

    async def _answer(self, settled: Sequence[Settled]) -> list[bool]:
        """Of each delivery, whether the broker has taken its answer, if there is one."""
        replies = [each.reply() for each in settled]
        taken = iter(await self._replier.publish([reply for reply in replies if reply], RETRY_TWICE_IF_LOST))
        return [reply is None or next(taken) for reply in replies]

    async def _announce(self, events: Sequence[Message]) -> None:
        """What a subscriber's full queue refuses is parked, so that one subscriber never stops or slows all writers."""
        taken = await self._publisher.publish(events, RETRY_IF_LOST)
        if refused := [parked(event, self._names) for event, was in zip(events, taken, strict=True) if not was]:
            log.warning("%d events are parked: a queue that is bound to %s is full", len(refused), self._names.events)
            metrics.PARKED.inc(len(refused))
            await self._publisher.publish(refused, RETRY_ALWAYS)


class _StillDown(ConsumerPaused):
    """The database does not answer, and is waited for no longer."""


class _Patience:
    """So many seconds from when an outage is first noticed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def until(self) -> float:
        """Of the loop's time."""
        self._until = self._until or _time() + self._seconds
        return self._until

    def over(self) -> None:
        """The outage is; the next one is waited for as long."""
        self._until = None


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The service could not read in time.")


def _time() -> float:
    return asyncio.get_running_loop().time()


def _key(delivery: Delivery) -> bytes:
    """What is the same for each delivery of a request, whose body may be what kills."""
    told = delivery.properties
    who = (told.user_id, told.message_id, told.correlation_id, told.reply_to)
    return digest(*who, delivery.routing_key, body=delivery.body)


def _taken(batch: Batch, subscriber: str, decode: Decode) -> tuple[list[Received[Operation]], StageTimer]:
    """What the batch holds, and its laps, of which two are over: nobody had taken it, and it was not decoded."""
    metrics.BATCHES.labels(subscriber).observe(len(batch.deliveries))
    laps = StageTimer(subscriber, batch.since)
    laps.end("queued")
    received = [decode(delivery) for delivery in batch.deliveries]
    laps.end("decoded")
    return received, laps


def _count(settled: Sequence[Settled]) -> None:
    counted = Counter([(each.received.operation, each.outcome.type) for each in settled])
    for (operation, kind), number in counted.items():
        key = operation.key if operation else metrics.UNKNOWN
        outcome = kind.removeprefix(errors.PREFIX) if kind.startswith(errors.PREFIX) else metrics.SERVED
        metrics.REQUESTS.labels(key, outcome).inc(number)


def _requests(received: Iterable[Received[Operation]]) -> list[Request[Operation]]:
    return [each.request for each in received if isinstance(each.request, Request)]


def _refused(received: Iterable[Received[Operation]]) -> list[Settled]:
    return [Settled(each, each.request.outcome) for each in received if isinstance(each.request, RejectedRequest)]
