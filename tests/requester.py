"""A requester at the level of AMQP: every property as a test wants it, every answer and event as its bytes."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
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
from tests import harness

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
    def problem(self) -> str | None:
        """The name of the problem that was answered, if one was."""
        return (self.type or "").removeprefix(PREFIX) if self.content_type == wire.PROBLEM else None


class Collected:
    """The messages of a queue, in their order."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message] = asyncio.Queue()

    def put(self, message: Message) -> None:
        self._queue.put_nowait(message)

    async def take(self, count: int) -> list[Message]:
        """The next messages, as soon as there are so many."""
        async with asyncio.timeout(harness.DEADLINE):
            return [await self._queue.get() for _ in range(count)]

    async def one(self) -> Message:
        return (await self.take(1))[0]

    async def until(self, body_part: bytes) -> list[Message]:
        """Every message up to the first whose body has this in it."""
        taken = await self.take(1)
        while body_part not in taken[-1].body:
            taken += await self.take(1)
        return taken


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
        self.answers.put(message)
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
    async with _channel(settings) as channel:
        queue = (await channel.queue_declare(exclusive=True)).queue or ""
        requester = Requester(channel, harness.names(settings), queue)
        await channel.basic_consume(queue, requester.answer, no_ack=True)
        yield requester


@contextlib.asynccontextmanager
async def listening(settings: config.Settings, exchange: str) -> AsyncIterator[Collected]:
    """What this exchange routes from now on."""
    async with _channel(settings) as channel:
        queue = (await channel.queue_declare(exclusive=True)).queue or ""
        await channel.queue_bind(queue, exchange, "#")
        collected = Collected()

        async def collect(delivery: DeliveredMessage) -> None:
            collected.put(_message(delivery))

        await channel.basic_consume(queue, collect, no_ack=True)
        yield collected


async def finished(answers: Sequence[asyncio.Future[Message]]) -> list[Message]:
    """The answers, when all of them have come."""
    async with asyncio.timeout(harness.DEADLINE):
        return await asyncio.gather(*answers)


@contextlib.asynccontextmanager
async def _channel(settings: config.Settings) -> AsyncIterator[Channel]:
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
