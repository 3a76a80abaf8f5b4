"""The client: one connection, on which requests go out, replies come back and events are listened to."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import urlsplit

import aio_pika
from aio_pika import exceptions
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from aiormq.exceptions import ChannelAccessRefused

from .. import backoff, wire
from ..amqp import connections
from .events import subscribe
from .failures import NoReply, NoService
from .messages import Event, Options, Reply, read_reply, write_request

_NO_SERVICE = (exceptions.ChannelNotFoundEntity, exceptions.PublishError)
"""How the broker says that there is no such exchange, or that no queue takes what is published there."""

_REFUSED = (*_NO_SERVICE, ChannelAccessRefused, exceptions.ChannelPreconditionFailed)
"""What the broker would say again, however often it is tried."""

END_TIMEOUT = 1  # seconds: an attempt that is cancelled ends sooner, but for one that waits for a dead connection


class _Lane:
    """A channel that requests go out on; where it was closed, another."""

    def __init__(self, open_: Callable[[], Awaitable[aio_pika.Exchange]]) -> None:
        self._open = open_
        self._opening = asyncio.Lock()
        self._requests: aio_pika.Exchange | None = None

    async def publish(self, message: aio_pika.Message, operation: str) -> None:
        async with self._opening:
            if self._requests is None or self._requests.channel.is_closed:
                self._requests = await self._open()
        await self._requests.publish(message, operation)


class Client:
    """A connection to one service. Any number of calls may be in flight, from any number of tasks of one event loop.

    ``timeout`` is the longest, in seconds, that a call waits for its answer, lost connections included.
    """

    def __init__(self, url: str, service: str = "db", timeout: float = 30.0) -> None:
        parsed = urlsplit(url)
        if parsed.scheme not in {"amqp", "amqps"} or not parsed.hostname:  # else aio-pika would try it for ever
            raise ValueError("the broker's URL must look like amqp://user:password@host/")
        self._url = url
        self._service = service
        self._names = wire.Names(service)
        self._timeout = timeout
        self._connection: AbstractRobustConnection
        self._requests, self._suspects = _Lane(self._open_requests), _Lane(self._open_requests)
        self._suspecting = asyncio.Lock()
        self._expected: dict[str, asyncio.Future[Reply]] = {}  # by correlation id
        self._closed: asyncio.Future[None]

    async def __aenter__(self) -> Self:
        """Connect. Raises ConnectionError and TimeoutError; a connection lost later is made again by itself."""
        self._closed = asyncio.get_running_loop().create_future()
        self._connection = await connections.connect(self._url, f"{self._service} client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection. Every call that waits raises ConnectionError at once."""
        if not self._closed.done():
            self._closed.set_result(None)
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
        message = write_request(body, options)
        message.reply_to = wire.DIRECT_REPLY_TO
        message.correlation_id = str(uuid.uuid4())  # its own: two calls of one message_id are both answered
        async with self._within_timeout(operation, message, options):
            return await self._repeat_while_lost(lambda: self._ask(operation, message))

    async def send(self, operation: str, body: object = None, **options: Unpack[Options]) -> str:
        """Leave a request with the broker, and return its ``message_id``. Raises NoReply where it is not confirmed."""
        message = write_request(body, options)
        async with self._within_timeout(operation, message, options):
            await self._repeat_while_lost(lambda: self._publish(operation, message))
        return str(message.message_id)

    async def serving(self, timeout: float | None = None) -> bool:
        """Whether the service runs, and takes requests at this moment.

        Raises NoService where it was never started, ConnectionError where the broker says nothing for ``timeout``
        seconds (the client's where it is None).
        """
        return await self._in_time(self._is_consumed, self._timeout if timeout is None else timeout)

    @asynccontextmanager
    async def events(self, pattern: str = "#") -> AsyncIterator[AsyncIterator[Event]]:
        """Every event from now on whose name fits the topic ``pattern``: ``session.*``, ``#``. Raises NoService.

        The queue lives as long as the connection: when that is lost the iteration raises ConnectionError, and what
        happens until the events are entered again is missed. Who must not miss any has a durable queue of its own.
        """
        channel, events = await self._in_time(lambda: self._subscribe(pattern), self._timeout)
        try:
            yield events
        finally:
            closing = asyncio.ensure_future(channel.close())
            await asyncio.wait({closing}, timeout=END_TIMEOUT)
            await _end(closing)

    async def _is_consumed(self) -> bool:
        channel = await self._open_channel()
        try:
            queue = await channel.declare_queue(self._names.reads, passive=True)  # which each process consumes
        except exceptions.ChannelNotFoundEntity:
            raise NoService(self._service) from None
        await channel.close()
        return bool(queue.declaration_result.consumer_count)

    async def _subscribe(self, pattern: str) -> tuple[aio_pika.Channel, AsyncIterator[Event]]:
        channel = await self._open_channel()
        try:
            return channel, await subscribe(channel, self._names.events, pattern)
        except _NO_SERVICE as error:
            raise NoService(self._service) from error

    async def _in_time[T](self, attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Try until the broker answers. Raises ConnectionError where it does not within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                return await self._repeat_while_lost(attempt)
        except TimeoutError:
            raise ConnectionError(f"the broker gave no answer within {seconds:g} s") from None

    @asynccontextmanager
    async def _within_timeout(self, operation: str, message: aio_pika.Message, options: Options) -> AsyncIterator[None]:
        """Raise NoReply when the request's time is up, and NoService where nothing takes it."""
        seconds = self._timeout if (given := options.get("timeout")) is None else given
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise NoReply(operation, seconds, str(message.message_id)) from None
        except _NO_SERVICE as error:
            raise NoService(self._service) from error

    async def _repeat_while_lost[T](self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again after each loss of the connection: the message_id makes sure that nothing is applied twice.

        Raises ConnectionError as soon as the client is closed.
        """
        delays = backoff.growing(longest=1)
        while not self._closed.done():
            running = asyncio.ensure_future(attempt())
            try:
                await self._wait_for(running)
            finally:
                await _end(running)
            if running.done() and not running.cancelled():  # a connection that closes cancels what waits for it
                error = running.exception()
                if error is None:
                    return running.result()
                if isinstance(error, _REFUSED) or not isinstance(error, connections.LOST):
                    raise error
            await asyncio.wait({self._closed}, timeout=next(delays))
        raise ConnectionError("the client is closed")

    async def _wait_for(self, running: asyncio.Future[Any]) -> None:
        """Return when the attempt has ended, the client is closed, or the connection that it began on is lost."""
        waits = {running, self._closed}
        up = self._connection.transport and self._connection.transport.connection
        lost = up.closing if up and not up.is_closed else None
        try:
            await asyncio.wait(waits | {lost} if lost else waits, return_when=asyncio.FIRST_COMPLETED)
            if lost and lost.done() and not running.done():  # what it raises of itself says more
                await asyncio.wait({running, self._closed}, timeout=END_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if lost:
                lost.cancel()  # an observer of this method's own

    async def _ask(self, operation: str, message: aio_pika.Message) -> Reply:
        """Publish the request and wait for its reply."""
        correlation_id = str(message.correlation_id)
        expected: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._expected[correlation_id] = expected
        try:
            await self._publish(operation, message)
            return await expected
        finally:
            del self._expected[correlation_id]

    async def _publish(self, operation: str, message: aio_pika.Message) -> None:
        """One message that is too large for the broker closes the channel on all: which it was shows each alone."""
        try:
            await self._requests.publish(message, operation)
        except exceptions.ChannelPreconditionFailed:
            async with self._suspecting:
                await self._suspects.publish(message, operation)

    async def _open_requests(self) -> aio_pika.Exchange:
        """A reply comes to the channel that its request was published on, which must consume replies by then."""
        channel = await self._open_channel()
        channel.close_callbacks.add(self._cancel_expected)
        replies = await channel.get_queue(wire.DIRECT_REPLY_TO, ensure=False)
        await replies.consume(self._hand_over, no_ack=True)
        return aio_pika.Exchange(channel, self._names.requests)

    async def _open_channel(self) -> aio_pika.Channel:
        """A plain channel: one that restored itself would hide that the replies on their way are lost."""
        await self._connection.ready()
        channel = aio_pika.Channel(self._connection, on_return_raises=True)
        await channel.initialize()
        return channel

    async def _hand_over(self, message: AbstractIncomingMessage) -> None:
        """Give the reply to the call that expects it; where its time was up, nobody does."""
        expected = self._expected.get(message.correlation_id or "")
        if expected and not expected.done():
            expected.set_result(read_reply(message))

    def _cancel_expected(self, *_: object) -> None:
        """The channel is closed: what was asked on it gets no reply, and each call asks again on another."""
        for expected in self._expected.values():
            expected.cancel()


async def _end(running: asyncio.Future[Any]) -> None:
    """Cancel the attempt if it still runs, and return when it has ended. Raises nothing of what the attempt raises."""
    if running.cancel():
        await asyncio.wait({running}, timeout=END_TIMEOUT)
    if running.done() and not running.cancelled():
        running.exception()  # retrieved, or asyncio logs it
