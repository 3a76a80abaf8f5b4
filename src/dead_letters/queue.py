"""The queue of dead letters, as a command opens it.

Dead letters are consumed and not got: what a channel has consumed goes back into the queue in its order when the
channel is closed, what it has got goes back shuffled. A dead letter leaves the queue by its ack alone, after that is
done for which it was taken; whatever happens before leaves it there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError

from src import wire
from src.amqp import connections
from src.backoff import Backoff
from src.client import NoService
from src.dead_letters.dead_letter import DeadLetter

LARGEST_WINDOW = 65535  # messages that a channel can hold
NEXT_TIMEOUT = 5  # seconds: the broker delivers within milliseconds, unless another consumer has the dead letter
RETURN_TIMEOUT = 2  # seconds: the broker requeues the deliveries of a closed channel sooner
FIRST_DELAY = 0.01  # seconds: most often the broker has requeued the deliveries by then
LONGEST_DELAY = 0.1  # seconds: an operator waits for the command to end


class NoSuchDeadLetter(Exception):
    """The queue has no dead letter of this id, or another consumer has it now."""


class NotReplayed(Exception):
    """The dead letter stays in the queue; the message is the reason."""


class DeadLetterQueue:
    """The queue while a command has it open. ``count`` is how many dead letters it had then."""

    def __init__(self, queue: AbstractQueue, requests: aio_pika.Exchange, limit: int) -> None:
        self.count = queue.declaration_result.message_count or 0
        self.removed = 0
        self._queue = queue
        self._requests = requests
        self._limit = min(limit, self.count)

    async def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """Those that were there, in their order, but none that arrives meanwhile: a replay may die again.

        Raises ConnectionError.
        """
        arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self._requests.channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
        await self._requests.channel.set_qos(prefetch_count=max(1, self._limit))
        await self._queue.consume(arrived.put)
        for _ in range(self._limit):
            try:
                message = await asyncio.wait_for(arrived.get(), NEXT_TIMEOUT)
            except TimeoutError:
                return
            if message is None:
                raise ConnectionError("the connection was lost; what was not done is still in the queue")
            yield DeadLetter(message)

    async def chosen(self, dead_letter_id: str) -> AsyncIterator[DeadLetter]:
        """The dead letter of this id, or all where the id is empty. Raises NoSuchDeadLetter and ConnectionError."""
        async for dead_letter in self.dead_letters():
            if dead_letter_id in {"", dead_letter.id}:
                yield dead_letter
            if dead_letter_id == dead_letter.id:
                return
        if dead_letter_id:
            raise NoSuchDeadLetter(f"there is no dead letter {dead_letter_id}, or somebody else looks at it now")

    async def replay(self, dead_letter: DeadLetter, *, named: bool) -> str:
        """Send the request again, remove the dead letter once that is confirmed, and return the new message id.

        One whose change may stand already is sent only where an operator has ``named`` it. Raises NotReplayed.
        """
        if reason := dead_letter.not_replayable or (None if named else dead_letter.uncertain):
            raise NotReplayed(reason)
        message = dead_letter.again()
        try:
            await self._requests.publish(message, dead_letter.operation, timeout=connections.CONNECT_TIMEOUT)
        except (DeliveryError, TypeError, ValueError) as error:  # the last two: AMQP has no room for what it has
            raise NotReplayed("RabbitMQ does not take the request") from error
        await self.remove(dead_letter)
        return str(message.message_id)

    async def remove(self, dead_letter: DeadLetter) -> None:
        """Remove it from the queue for good."""
        await dead_letter.message.ack()
        self.removed += 1


@asynccontextmanager
async def opened(rabbitmq_url: str, service: str, limit: int = LARGEST_WINDOW) -> AsyncIterator[DeadLetterQueue]:
    """The queue of this service, until it has back what was not removed. Raises NoService."""
    names = wire.Names(service)
    async with await connections.connect(rabbitmq_url, f"{service} dead letters") as connection:
        channel = aio_pika.Channel(connection, on_return_raises=True)
        with connections.translate_cancellation():
            await channel.initialize()
            try:
                requests = aio_pika.Exchange(channel, names.requests)
                queue = DeadLetterQueue(await channel.get_queue(names.dead), requests, limit)
                yield queue
            except ChannelNotFoundEntity as error:
                raise NoService(service) from error
        await channel.close()
        with suppress(TimeoutError, *connections.CONNECTION_ERRORS):
            await asyncio.wait_for(_returned(connection, names.dead, queue.count - queue.removed), RETURN_TIMEOUT)


async def _returned(connection: aio_pika.abc.AbstractConnection, queue: str, count: int) -> None:
    """Return when the queue has so many dead letters: it has them a moment after the channel is closed."""
    channel = await connection.channel()
    backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
    while True:
        declared = await channel.declare_queue(queue, passive=True)
        if (declared.declaration_result.message_count or 0) >= count:
            return
        await backoff.pause()
