"""Speak to the service from another Python program.

::

    async with Client("amqp://guest:guest@localhost/") as db:
        session = await db.call("session.create", {"title": "Trains"})
        async with db.events("query.*") as events:
            query = await db.call("query.create", {"session_id": session["id"], "text": "When does it leave?"})
            async for event in events: ...

A problem that the service answers is raised as its class in ``src.errors``. What is sent under one ``message_id`` is
applied once, however often it is sent: so a call whose connection is lost is sent again, until its timeout.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import urlsplit

import aio_pika
import pydantic_core
from aio_pika import exceptions
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from aiormq.exceptions import ChannelAccessRefused

from .. import pauses, wire
from ..amqp import connections
from ..errors import PREFIX, Problem

EVENTS_AHEAD = 200
"""How many events the broker hands over before they are asked for."""

_ABSENT = (exceptions.ChannelNotFoundEntity, exceptions.PublishError)
_REFUSED = (*_ABSENT, ChannelAccessRefused, exceptions.ChannelPreconditionFailed)  # would be refused again

type _Arrived = asyncio.Queue[AbstractIncomingMessage | None]


class NoService(Exception):
    """Nothing on the broker takes the requests."""

    def __init__(self, service: str) -> None:
        super().__init__(f"no service named {service!r} has been started on this broker")


class NoReply(TimeoutError):
    """The time is up, and whether the request was served is not known."""

    def __init__(self, operation: str, seconds: float, message_id: str) -> None:
        self.message_id = message_id
        super().__init__(
            f"{operation} had no answer within {seconds:g} s; "
            f"it may be asked again under the same message_id, {message_id}"
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came, of success or of a problem (then ``content_type`` is ``wire.PROBLEM``)."""

    body: bytes
    type: str
    content_type: str
    correlation_id: str

    def answer(self) -> dict[str, Any]:
        """The body, parsed. Raises the Problem that it is."""
        document: dict[str, Any] = pydantic_core.from_json(self.body)
        if self.content_type == wire.PROBLEM:
            raise problem(document)
        return document


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. ``name`` is ``<entity>.<past tense>``, ``body`` the entity after it, ``time`` as in RFC 3339.

    An event may come more than once, always under the same ``id``. ``causation_id`` is the request's ``message_id``.
    """

    name: str
    id: str | None
    entity_version: int | None
    causation_id: str | None
    correlation_id: str | None
    time: str | None
    body: dict[str, Any]


class Options(TypedDict, total=False):
    """How a request is sent.

    ``message_id`` is the idempotency key (a random one where it is None), ``timeout`` in seconds (the client's where it
    is None). Requests of one ``partition_key`` are applied in the order they were sent. A ``dry_run`` is answered and
    leaves nothing behind.
    """

    message_id: str | None
    partition_key: str | uuid.UUID | None
    timeout: float | None
    dry_run: bool


class Client:
    """A connection to one service. Any number of calls may be in flight, from any number of tasks of one event loop.

    ``timeout`` is the longest, in seconds, that a call waits for its answer, lost connections included.
    """

    def __init__(self, url: str, service: str = "db", timeout: float = 30.0) -> None:
        place = urlsplit(url)
        if place.scheme not in {"amqp", "amqps"} or not place.hostname:  # else aio-pika would try it for ever
            raise ValueError("the broker's URL must look like amqp://user:password@host/")
        self._url = url
        self._service = service
        self._names = wire.Names(service)
        self._timeout = timeout
        self._connection: AbstractRobustConnection
        self._requests: aio_pika.Exchange | None = None
        self._opening = asyncio.Lock()
        self._expected: dict[str, asyncio.Future[Reply]] = {}

    async def __aenter__(self) -> Self:
        """Connect. Raises ConnectionError and TimeoutError; a connection lost later is made again by itself."""
        self._connection = await connections.connect(self._url, f"{self._service} client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.close()

    @property
    def in_flight(self) -> int:
        """How many calls wait for their answers."""
        return len(self._expected)

    async def call(self, operation: str, body: object = None, **options: Unpack[Options]) -> dict[str, Any]:
        """Ask, and return the answer. Raises the Problem that was answered, NoReply and NoService.

        ``body`` is whatever Pydantic serialises to a JSON object: UUIDs, datetimes, models.
        """
        return (await self.request(operation, body, **options)).answer()

    async def request(self, operation: str, body: object = None, **options: Unpack[Options]) -> Reply:
        """Ask, and return the answer as it came: a problem is one, too. Raises NoReply and NoService."""
        message = _message(body, options)
        message.reply_to = wire.DIRECT_REPLY_TO
        message.correlation_id = str(uuid.uuid4())  # its own: two calls of one message_id are both answered
        async with self._patience(operation, message, options):
            return await self._persist(lambda: self._ask(operation, message))

    async def send(self, operation: str, body: object = None, **options: Unpack[Options]) -> str:
        """Leave a request with the broker, and return its ``message_id``. Raises NoReply where it is not confirmed."""
        message = _message(body, options)
        async with self._patience(operation, message, options):
            await self._persist(lambda: self._publish(operation, message))
        return str(message.message_id)

    @asynccontextmanager
    async def events(self, pattern: str = "#") -> AsyncIterator[AsyncIterator[Event]]:
        """Every event from now on whose name fits the topic ``pattern``: ``session.*``, ``#``. Raises NoService.

        The queue lives as long as the connection: when that is lost the iteration raises ConnectionError, and what
        happens until the events are entered again is missed. Who must not miss any has a durable queue of its own.
        """
        channel = await self._persist(self._open)
        arrived: _Arrived = asyncio.Queue()
        channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
        try:
            await self._subscribe(channel, pattern, arrived)
            yield _arriving(arrived)
        finally:
            await channel.close()

    async def _subscribe(self, channel: aio_pika.Channel, pattern: str, arrived: _Arrived) -> None:
        await channel.set_qos(prefetch_count=EVENTS_AHEAD)
        queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        try:
            await queue.bind(self._names.events, pattern)
        except _ABSENT as error:
            raise NoService(self._service) from error
        await queue.consume(arrived.put)

    @asynccontextmanager
    async def _patience(self, operation: str, message: aio_pika.Message, options: Options) -> AsyncIterator[None]:
        seconds = self._timeout if (given := options.get("timeout")) is None else given
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise NoReply(operation, seconds, str(message.message_id)) from None
        except _ABSENT as error:
            raise NoService(self._service) from error

    async def _persist[T](self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until it is through: the message_id makes sure that it is not applied twice."""
        pausing = pauses.growing(longest=1)
        while not self._connection.close_called:
            try:
                return await attempt()
            except _REFUSED:
                raise
            except asyncio.CancelledError:
                if connections.told_to_end():  # else it is how a closing connection ends what waits for it
                    raise
            except connections.LOST:
                pass
            await asyncio.sleep(next(pausing))
        raise ConnectionError("the client is closed")

    async def _ask(self, operation: str, message: aio_pika.Message) -> Reply:
        correlation_id = str(message.correlation_id)
        expected: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._expected[correlation_id] = expected
        try:
            await self._publish(operation, message)
            return await expected
        finally:
            del self._expected[correlation_id]

    async def _publish(self, operation: str, message: aio_pika.Message) -> None:
        async with self._opening:
            if self._requests is None or self._requests.channel.is_closed:
                self._requests = await self._listen()
        await self._requests.publish(message, operation)

    async def _listen(self) -> aio_pika.Exchange:
        """A reply comes to the channel that its request was published on, which must consume replies by then."""
        channel = await self._open()
        channel.close_callbacks.add(self._lose)
        replies = await channel.get_queue(wire.DIRECT_REPLY_TO, ensure=False)
        await replies.consume(self._take, no_ack=True)
        return aio_pika.Exchange(channel, self._names.requests)

    async def _open(self) -> aio_pika.Channel:
        """A plain channel: one that restored itself would hide that the replies on their way are lost."""
        await self._connection.ready()
        channel = aio_pika.Channel(self._connection, on_return_raises=True)
        await channel.initialize()
        return channel

    async def _take(self, message: AbstractIncomingMessage) -> None:
        expected = self._expected.get(message.correlation_id or "")
        if expected and not expected.done():
            expected.set_result(_reply(message))

    def _lose(self, *_: object) -> None:
        for expected in self._expected.values():
            expected.cancel()


def problem(document: Mapping[str, Any]) -> Problem:
    """The problem that the document describes, as its class; one of a type not known here is a plain Problem."""
    kinds = {PREFIX + kind.name(): kind for kind in Problem.__subclasses__()}
    kind = kinds.get(document.get("type", ""), Problem)
    return kind(document.get("detail"), document.get("errors", ()))


def _message(body: object, options: Options) -> aio_pika.Message:
    headers: dict[str, Any] = {}
    if (key := options.get("partition_key")) is not None:
        headers[wire.PARTITION_KEY] = str(key)
    if options.get("dry_run"):
        headers[wire.DRY_RUN] = True
    return aio_pika.Message(
        pydantic_core.to_json({} if body is None else body),
        headers=headers,
        content_type=wire.JSON,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=options.get("message_id") or str(uuid.uuid4()),
    )


def _reply(message: AbstractIncomingMessage) -> Reply:
    return Reply(message.body, message.type or "", message.content_type or "", message.correlation_id or "")


def _event(message: AbstractIncomingMessage) -> Event:
    headers: dict[str, Any] = dict(message.headers)
    return Event(
        name=message.routing_key or "",
        id=message.message_id,
        entity_version=headers.get(wire.ENTITY_VERSION),
        causation_id=headers.get(wire.CAUSATION_ID),
        correlation_id=message.correlation_id,
        time=headers.get(wire.CLOUD_EVENT + "time"),
        body=pydantic_core.from_json(message.body),
    )


async def _arriving(arrived: _Arrived) -> AsyncIterator[Event]:
    while message := await arrived.get():
        try:
            await message.ack()
        except connections.LOST:
            break
        yield _event(message)
    raise ConnectionError("the connection was lost, and with it the queue of events: what happened since is missed")
