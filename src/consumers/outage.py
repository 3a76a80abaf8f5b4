"""Outages of the database: a batch that could not be applied is kept, and applied again once the database answers.

The deliveries stay unacked meanwhile, so that their order is kept.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from src.amqp.batch import Batch
from src.amqp.batch_subscriber import ConsumerPaused
from src.backoff import Backoff
from src.consumers.request_batch import Apply, Outcomes, RequestBatch
from src.database import Database
from src.errors import DeadlineExceeded, Transient, Unavailable
from src.processing.outcome import Outcome

log = logging.getLogger(__name__)

LONGEST_OUTAGE = 20 * 60  # seconds: a batch is kept so long, less than RabbitMQ's consumer timeout of 30 minutes
NO_ANSWER = "the database does not answer"
WAITING = "waiting for the database with %d %s: %s"
NOT_READ = "The service could not read in time."


class StillUnavailable(ConsumerPaused):
    """The database did not answer before the outage deadline."""


@dataclass(slots=True)
class OutageDeadline:
    """So many ``seconds`` after an outage was noticed."""

    seconds: float
    _at: float | None = None

    def notice(self) -> None:
        """Set the deadline, unless the outage was noticed before."""
        self._at = self._at or asyncio.get_running_loop().time() + self.seconds

    @property
    def remaining(self) -> float:
        """The seconds until the deadline."""
        return self.seconds if self._at is None else self._at - asyncio.get_running_loop().time()

    def reset(self) -> None:
        """Note that the outage is over."""
        self._at = None


@dataclass(frozen=True)
class OutageRetry:
    """Retries until the database is available. ``deadline`` returns the outage deadline of a batch that failed."""

    database: Database
    deadline: Callable[[], OutageDeadline]

    def retrying(self, apply: Apply) -> Apply:
        """Return an ``apply`` that begins again with the unsettled requests when the database is available again.

        It raises StillUnavailable at the outage deadline, ConsumerPaused where the batch cannot be kept so long.
        """

        async def apply_until_available(requests: RequestBatch) -> AsyncIterator[Outcomes]:
            backoff, deadline = Backoff(), self.deadline()
            while True:
                try:
                    async for outcomes in apply(requests):
                        yield outcomes
                except (Transient, Unavailable) as error:
                    log.warning(WAITING, len(requests.batch.deliveries), requests.subscriber, error)
                    await self._wait(requests.batch, backoff, deadline)
                    requests.timer.end("waited")
                else:
                    deadline.reset()
                    return

        return apply_until_available

    async def retry_until_available[T](self, attempt: Callable[[], Awaitable[T]], batch: Batch) -> T:
        """Return what the attempt returns, repeated while the database is unavailable. Raises as ``retrying``."""
        backoff, deadline = Backoff(), self.deadline()
        while True:
            try:
                return await attempt()
            except (Transient, Unavailable) as error:
                log.warning(WAITING, len(batch.deliveries), "suspected poison messages", error)
                await self._wait(batch, backoff, deadline)

    async def _wait(self, batch: Batch, backoff: Backoff, deadline: OutageDeadline) -> None:
        """Return when the database answers."""
        deadline.notice()
        while (remaining := deadline.remaining) > 0:
            await backoff.pause(batch.stopping, at_most=remaining)
            if batch.stopping.is_set() or batch.channel.is_closed:
                raise ConsumerPaused(NO_ANSWER)
            try:
                await self.database.probe()
            except Unavailable as error:
                log.warning("still waiting for the database: %s", error)
            else:
                return
        raise StillUnavailable(NO_ANSWER)


def answering_late(apply: Apply) -> Apply:
    """Return an ``apply`` that answers the unsettled requests ``deadline-exceeded`` at the outage deadline."""

    async def apply_or_answer_late(requests: RequestBatch) -> AsyncIterator[Outcomes]:
        try:
            async for outcomes in apply(requests):
                yield outcomes
        except StillUnavailable:
            late = Outcome.of(DeadlineExceeded(NOT_READ))
            yield [(position, late) for position in requests.unsettled]

    return apply_or_answer_late
