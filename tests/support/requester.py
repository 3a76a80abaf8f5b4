"""A requester at the level of AMQP: every property as a test wants it, every answer and event as its bytes."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import aiormq
import pydantic_core
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic
from yarl import URL

import config
from src import wire
from src.errors import PREFIX
from tests.support import harness

HEARTBEAT = 600  # seconds: a service in this process may keep the loop busy


@dataclass(frozen=True)
class Message:
    """An answer, an event or a dead letter. Two are equal that say the same, whichever copy of a request they tell of.

    An answer has no ``name`` and no ``id``, for they say nothing.
    """

    name: str
    id: str | None
    body: bytes
    type: str | None
    content_type: str | None
    headers: Mapping[str, Any]
    correlation_id: str | None = field(compare=False)

    @property
    def document(self) -> Any:
        return pydantic_core.from_json(self.body)

    @property
    def kind(self) -> str:
        """The operation that was answered, or the name of the problem."""
        return (self.type or "").removeprefix(PREFIX)

    @property
    def problem(self) -> str | None:
        """The name of the problem that was answered, if one was."""
        return self.kind if self.content_type == wire.PROBLEM else None

    @property
    def reason(self) -> str:
        """Why it is a dead letter."""
        return str(self.headers.get(wire.REASON)).removeprefix(PREFIX)


class Collected:
    """The messages of a queue, in their order: ``all`` of them, and those that a test takes one after the other."""

    def __init__(self) -> None:
        self.all: list[Message] = []
        self._taken = 0
        self._changed = asyncio.Condition()

    async def put(self, message: Message) -> None:
        async with self._changed:
            self.all.append(message)
            self._changed.notify_all()

    async def reach(self, condition: Callable[[], object]) -> None:
        """Wait until what has come fulfils the condition."""
        async with asyncio.timeout(harness.DEADLINE), self._changed:
            await self._changed.wait_for(condition)

    async def take(self, count: int) -> list[Message]:
        """The next messages, as soon as there are so many."""
        begin, self._taken = self._taken, self._taken + count
        await self.reach(lambda: len(self.all) >= begin + count)
        return self.all[begin : begin + count]

    async def one(self) -> Message:
        return (await self.take(1))[0]

    async def until(self, body_part: bytes) -> list[Message]:
        """Every message up to the first whose body has this in it."""
        taken = await self.take(1)
        while body_part not in taken[-1].body:
            taken += await self.take(1)
        return taken

    def of(self, correlation_id: str) -> list[Message]:
        return [message for message in self.all if message.correlation_id == correlation_id]


class Requester:
    """Publishes requests, and tells their answers apart by a correlation id of each copy.

    ``answers`` has them all, those included that come a second time.
    """

    def __init__(self, channel: Channel, names: wire.Names, reply_to: str) -> None:
        self._channel = channel
        self._names = names
        self.reply_to = reply_to
        self._numbers = itertools.count(1)
        self._expected: dict[str, asyncio.Future[Message]] = {}
        self.answers = Collected()

    async def publish(
        self,
        operation: str,
        body: object = None,
        message_id: str | None = None,
        headers: Mapping[str, Any] | None = None,
        **properties: Any,
    ) -> asyncio.Future[Message]:
        """Return when the broker has confirmed the request; the future is its answer."""
        number = f"copy-{next(self._numbers)}"
        answer = self._expected[number] = asyncio.get_running_loop().create_future()
        given = {
            "correlation_id": number,
            "reply_to": self.reply_to,
            "headers": headers,
            "delivery_mode": 2,
        } | properties
        await self._channel.basic_publish(
            body if isinstance(body, bytes) else pydantic_core.to_json({} if body is None else body),
            exchange=self._names.requests,
            routing_key=operation,
            properties=Basic.Properties(**given, message_id=message_id) if message_id else _Anonymous(**given),
            mandatory=True,
            wait=False,
        )
        return answer

    async def ask(self, *request: Any, **properties: Any) -> Message:
        """The answer to what ``publish`` takes."""
        async with asyncio.timeout(harness.DEADLINE):
            return await (await self.publish(*request, **properties))

    async def answer(self, delivery: DeliveredMessage) -> None:
        message = _message(delivery)
        await self.answers.put(message)
        expected = self._expected.get(message.correlation_id or "")
        if expected and not expected.done():
            expected.set_result(message)


class _Anonymous(Basic.Properties):
    """No message_id, not even the random one that aiormq sets where there is none."""

    @property
    def message_id(self) -> None:
        return None

    @message_id.setter
    def message_id(self, value: object) -> None: ...


@contextlib.asynccontextmanager
async def asking(settings: config.Settings) -> AsyncIterator[Requester]:
    """A requester of the service that has these settings, running or not."""
    async with opened(settings) as channel:
        queue = (await channel.queue_declare(exclusive=True)).queue or ""
        requester = Requester(channel, harness.names(settings), queue)
        await channel.basic_consume(queue, requester.answer, no_ack=True)
        yield requester


@contextlib.asynccontextmanager
async def listening(settings: config.Settings, exchange: str) -> AsyncIterator[Collected]:
    """What this exchange routes from now on."""
    async with opened(settings) as channel:
        queue, collected = await collecting(channel)
        await channel.queue_bind(queue, exchange, "#")
        yield collected


@contextlib.asynccontextmanager
async def taking(settings: config.Settings, queue: str) -> AsyncIterator[Collected]:
    """What is in this queue, and what comes to it."""
    async with opened(settings) as channel:
        yield await _collected(channel, queue)


async def collecting(channel: Channel) -> tuple[str, Collected]:
    """A queue of its own, and what comes there."""
    queue = (await channel.queue_declare(exclusive=True)).queue or ""
    return queue, await _collected(channel, queue)


async def _collected(channel: Channel, queue: str) -> Collected:
    collected = Collected()

    async def collect(delivery: DeliveredMessage) -> None:
        await collected.put(_message(delivery))

    await channel.basic_consume(queue, collect, no_ack=True)
    return collected


async def finished(answers: Sequence[asyncio.Future[Message]]) -> list[Message]:
    """The answers, when all of them have come."""
    async with asyncio.timeout(harness.DEADLINE):
        return await asyncio.gather(*answers)


@contextlib.asynccontextmanager
async def opened(settings: config.Settings) -> AsyncIterator[Channel]:
    """A plain channel, with confirms, raising what is returned."""
    url = URL(settings.rabbitmq_url.get_secret_value()).update_query(heartbeat=HEARTBEAT)
    connection = await aiormq.connect(url)
    try:
        yield cast("Channel", await connection.channel(publisher_confirms=True, on_return_raises=True))
    finally:
        await connection.close()


def _message(delivery: DeliveredMessage) -> Message:
    properties = delivery.header.properties
    answers = not delivery.exchange
    return Message(
        "" if answers else str(delivery.routing_key),
        None if answers else properties.message_id,
        delivery.body,
        properties.message_type,
        properties.content_type,
        properties.headers or {},
        properties.correlation_id,
    )
