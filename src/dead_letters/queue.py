"""The queue of dead letters, and what the commands of ``dead`` do with it.

Letters are consumed and not got: what a channel has consumed goes back into the queue in its order when the channel is
closed, what it has got goes back shuffled. A letter leaves the queue by its ack alone, after that is done for which it
was taken; whatever happens before leaves it there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aio_pika
import typer
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError

from src import backoff, wire
from src.amqp import connections
from src.cli.ending import NO_ANSWER, end
from src.cli.output import print_line
from src.cli.runner import run
from src.cli.target import Target
from src.client import NoService
from src.dead_letters.dead_letter import DeadLetter

MOST = 65535  # that a channel can hold
NEXT = 5  # seconds that the next letter may take to come: after them somebody else has it
TAKEN_BACK = 2  # seconds that the queue may take to have back what was looked at


def list_letters(to: Target, limit: int) -> None:
    """Print a line for each."""
    run(to, _list(to, limit))


def show(to: Target, letter_id: str) -> None:
    """Print all of one; end the program with exit code 1 where it is not there."""
    run(to, _show(to, letter_id))


def replay(to: Target, letter_id: str) -> None:
    """Send one again, or all where none is named; end the program with exit code 1 where one was not sent."""
    if not run(to, _replay(to, letter_id)):
        raise typer.Exit(NO_ANSWER)


def drop(to: Target, letter_id: str) -> None:
    """Drop one, or all where none is named; end the program with exit code 1 where it is not there."""
    run(to, _drop(to, letter_id))


class _Box:
    """The queue, while a command looks into it. ``count`` is how many letters it had."""

    def __init__(self, queue: AbstractQueue, requests: aio_pika.Exchange, most: int) -> None:
        self.count = queue.declaration_result.message_count or 0
        self.taken = 0
        self._queue = queue
        self._requests = requests
        self._most = min(most, self.count)

    async def letters(self) -> AsyncIterator[DeadLetter]:
        """Those that were there, in their order, but not what dies meanwhile: a replay may."""
        arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self._requests.channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
        await self._requests.channel.set_qos(prefetch_count=max(1, self._most))
        await self._queue.consume(arrived.put)
        for _ in range(self._most):
            try:
                message = await asyncio.wait_for(arrived.get(), NEXT)
            except TimeoutError:
                return
            if message is None:
                raise ConnectionError("the connection was lost; what was not done is still in the queue")
            yield DeadLetter(message)

    async def chosen(self, letter_id: str) -> AsyncIterator[DeadLetter]:
        """The letter of this id, or all where there is none; end the program where it is not there."""
        async for letter in self.letters():
            if letter_id in {"", letter.id}:
                yield letter
            if letter_id == letter.id:
                return
        if letter_id:
            end(f"there is no dead letter {letter_id}, or somebody else looks at it now", NO_ANSWER)

    async def send(self, letter: DeadLetter) -> str | None:
        """Send it again, and take it away once the request is confirmed; or say why not."""
        message = letter.again()
        try:
            await self._requests.publish(message, letter.operation, timeout=connections.CONNECT_TIMEOUT)
        except (DeliveryError, TypeError, ValueError):  # the last two: it has what AMQP has no room for
            return "RabbitMQ does not take the request"
        await self.take(letter)
        print_line(f"{letter.id}  replayed as {message.message_id}")
        return None

    async def take(self, letter: DeadLetter) -> None:
        """Take it from the queue for good."""
        await letter.message.ack()
        self.taken += 1


async def _list(to: Target, limit: int) -> None:
    shown = 0
    async with _opened(to, limit) as box:
        async for letter in box.letters():
            print_line(letter.line)
            shown += 1
    more = f" of {box.count}; --limit shows more" if box.count > shown else ""
    typer.echo(f"{shown} dead letters{more}", err=True)


async def _show(to: Target, letter_id: str) -> None:
    async with _opened(to) as box:
        async for letter in box.chosen(letter_id):
            for line in letter.lines:
                print_line(line)


async def _replay(to: Target, letter_id: str) -> bool:
    """Whether all were sent."""
    kept = 0
    async with _opened(to) as box:
        async for letter in box.chosen(letter_id):
            doubt = None if letter_id else letter.doubt
            if refusal := letter.refusal or doubt or await box.send(letter):
                print_line(f"{letter.id}  not replayed: {refusal}")
                kept += 1
    typer.echo(f"{box.taken} replayed{f', {kept} not' if kept else ''}", err=True)
    return not kept


async def _drop(to: Target, letter_id: str) -> None:
    async with _opened(to) as box:
        async for letter in box.chosen(letter_id):
            await box.take(letter)
    typer.echo(f"{box.taken} dropped", err=True)


@asynccontextmanager
async def _opened(to: Target, most: int = MOST) -> AsyncIterator[_Box]:
    """The queue, until it has back all that was not taken. Raises NoService."""
    names = wire.Names(to.service)
    async with await connections.connect(to.rabbitmq_url, f"{to.service} dead letters") as connection:
        channel = aio_pika.Channel(connection, on_return_raises=True)
        with connections.cancelled_by_loss():
            await channel.initialize()
            try:
                box = _Box(await channel.get_queue(names.dead), aio_pika.Exchange(channel, names.requests), most)
                yield box
            except ChannelNotFoundEntity as error:
                raise NoService(to.service) from error
        await channel.close()
        with suppress(TimeoutError, *connections.LOST):
            await asyncio.wait_for(_taken_back(connection, names.dead, box.count - box.taken), TAKEN_BACK)


async def _taken_back(connection: aio_pika.abc.AbstractConnection, queue: str, count: int) -> None:
    """Return when the queue has so many letters: it has them a moment after the channel is closed."""
    channel = await connection.channel()
    for pause in backoff.growing(first=0.01, longest=0.1):
        declared = await channel.declare_queue(queue, passive=True)
        if (declared.declaration_result.message_count or 0) >= count:
            return
        await asyncio.sleep(pause)
