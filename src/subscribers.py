"""RabbitMQ in: take, decode, apply, publish, ack.

The unacked delivery is the outbox. A change and its outcome commit together, and a delivery is acked after its answer
and events are confirmed, so that a crash anywhere means a redelivery that finds the stored outcome and publishes it
again. There is no relay, no poll and no outbox table.
"""

import asyncio
import logging
import random
import traceback
from collections.abc import Iterator, Sequence

from src import database, envelope, wire
from src.batches import Batch, Pause, wait
from src.envelope import Decoder, Envelope, Outgoing
from src.errors import DeadlineExceeded, Unavailable, UnknownOperation
from src.messages import Outcome, Request, State
from src.publisher import FOREVER, Publisher
from src.reader import Reader
from src.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)

OUTAGE_PATIENCE = 20 * 60  # seconds that a batch is kept; less than the broker's consumer timeout of 30 minutes
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5  # seconds between two probes


class Subscribers:
    """What is done with the batches of each queue. ``publish_patience`` is how long an event may be refused."""

    def __init__(
        self,
        decoder: Decoder,
        unit_of_work: UnitOfWork,
        reader: Reader,
        publisher: Publisher,
        db: database.Database,
        names: wire.Names,
        publish_patience: float,
    ) -> None:
        self._open = decoder.open
        self._open_write = decoder.only(writes=True).open
        self._open_read = decoder.only(writes=False).open
        self._unit_of_work = unit_of_work
        self._reader = reader
        self._publisher = publisher
        self._database = db
        self._names = names
        self._publish_patience = publish_patience
        self.unkeyed = 0  # writes served at least once, for they had no message_id

    async def write(self, batch: Batch) -> None:
        """Requests that change something: exactly once, in order."""
        envelopes = [self._open_write(delivery) for delivery in batch.deliveries]
        self.unkeyed += sum(opened.unkeyed for opened in envelopes)
        outcomes = await self._apply(batch, [opened.request for opened in envelopes if opened.request])
        await self._publish(_answered(envelopes, outcomes))
        await batch.ack()

    async def read(self, batch: Batch) -> None:
        """Requests that only read. While the database is away they go back to their queue, and expire there."""
        envelopes = [self._open_read(delivery) for delivery in batch.deliveries]
        try:
            outcomes = await self._reader.apply([opened.request for opened in envelopes if opened.request])
        except Unavailable as error:
            raise Pause(str(error)) from error
        await self._publish(_answered(envelopes, outcomes))
        await batch.ack()

    async def unrouted(self, batch: Batch) -> None:
        """Requests that nobody is bound for, and reads that waited too long."""
        envelopes = [self._open(delivery) for delivery in batch.deliveries]
        expired = Outcome.of(DeadlineExceeded("The service could not read in time."))
        unbound = Outcome.of(UnknownOperation())
        await self._publish(
            [(opened, opened.outcome or (expired if opened.expired else unbound)) for opened in envelopes]
        )
        await batch.ack()

    async def _apply(self, batch: Batch, requests: Sequence[Request]) -> list[Outcome]:
        """Through an outage: the batch is kept, so that order is, and tried again when a probe succeeds."""
        pauses, until = backoff(), asyncio.get_running_loop().time() + OUTAGE_PATIENCE
        while True:
            try:
                return await self._unit_of_work.apply(requests)
            except Unavailable as error:
                log.warning("waiting for the database with %d requests: %s", len(requests), error)
            await self._outlast(batch, pauses, until)

    async def _outlast(self, batch: Batch, pauses: Iterator[float], until: float) -> None:
        """Return when the database answers. Raises Pause where the batch cannot be kept as long as that."""
        for pause in pauses:
            await wait(batch.stopping, pause)
            if batch.stopping.is_set() or batch.channel.is_closed or asyncio.get_running_loop().time() > until:
                raise Pause("the database does not answer")
            try:
                await self._database.probe()
            except Unavailable as error:
                log.warning("still waiting for the database: %s", error)
            else:
                return

    async def _publish(self, answered: Sequence[tuple[Envelope, Outcome]]) -> None:
        """Answers and events together; then, as dead letters, the requests that nobody else would hear of."""
        for opened, outcome in answered:
            if outcome.state is State.FAILED:
                log.error("%s failed: %s", opened.operation and opened.operation.key, _place(outcome.error))
        replies = [(opened, outcome) for opened, outcome in answered if opened.reply_to]
        told = [
            (opened, event) for opened, outcome in answered for event in envelope.events(opened, outcome, self._names)
        ]
        replied, published = await asyncio.gather(
            self._publisher.publish([envelope.reply(*reply) for reply in replies]),
            self._publisher.publish([event for _, event in told], patience=self._publish_patience),
        )
        letters: list[Outgoing | None] = [self._unserved(*pair) for pair in answered if _needs_a_reader(*pair)]
        letters += [self._unanswered(*pair) for pair, done in zip(replies, replied, strict=True) if not done]
        unpublished = {id(opened): opened for (opened, _), done in zip(told, published, strict=True) if not done}
        letters += [self._dead(opened, "unpublished", "its events were refused") for opened in unpublished.values()]
        await self._publisher.publish([letter for letter in letters if letter], patience=FOREVER)

    def _unserved(self, opened: Envelope, outcome: Outcome) -> Outgoing:
        detail = _place(outcome.error) if outcome.state is State.FAILED else str(outcome.error or "")
        return self._dead(opened, outcome.type, detail)

    def _unanswered(self, opened: Envelope, outcome: Outcome) -> Outgoing | None:
        """A reply is tried once. A problem whose requester cannot be told reaches the dead letters."""
        log.warning("a reply was not taken: %s", outcome.type)
        if outcome.state is State.SERVED or opened.direct or not _writes(opened) or _needs_a_reader(opened, outcome):
            return None
        return self._dead(opened, "unanswered", outcome.type)

    def _dead(self, opened: Envelope, reason: str, detail: str) -> Outgoing:
        log.warning("dead letter: %s", reason)
        return envelope.dead_letter(opened, reason, detail, self._names)


def backoff() -> Iterator[float]:
    """Seconds between two probes: longer and longer, and never the same for two replicas."""
    pause = SHORTEST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1)
        pause = min(pause * 2, LONGEST_PAUSE)


def _answered(envelopes: Sequence[Envelope], outcomes: Sequence[Outcome]) -> list[tuple[Envelope, Outcome]]:
    """Each delivery with its outcome: that of the decoding, or the next of those that were applied."""
    applied = iter(outcomes)
    return [(opened, opened.outcome or next(applied)) for opened in envelopes]


def _needs_a_reader(opened: Envelope, outcome: Outcome) -> bool:
    """It failed by our fault, or was rejected and has nobody to be told. A read that failed is no loss."""
    if not _writes(opened):
        return False
    return outcome.state is State.FAILED or (outcome.state is State.REJECTED and not opened.reply_to)


def _writes(opened: Envelope) -> bool:
    """What is not known may have been a write."""
    return opened.operation is None or opened.operation.writes


def _place(error: BaseException | None) -> str:
    """An exception's type and where it was raised, without its message: that may hold what the request said."""
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{where}"
