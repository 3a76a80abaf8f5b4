"""The client: one connection that sends requests and receives replies and events."""

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

from .. import wire
from ..amqp import connections
from ..backoff import Backoff
from .events import subscribe
from .failures import NoReply, NoService
from .messages import Event, Options, Reply, read_reply, write_request
from .request_channel import RequestChannel

_NO_SERVICE = (exceptions.ChannelNotFoundEntity, exceptions.PublishError)
"""The broker has no such exchange, or no queue is bound for the routing key."""

_REFUSED = (*_NO_SERVICE, ChannelAccessRefused, exceptions.ChannelPreconditionFailed)
"""Errors that a retry would raise again."""

LONGEST_DELAY = 1  # seconds: a caller waits for its reply meanwhile, and a broker that restarts is back after several
END_TIMEOUT = 1  # seconds: a cancelled attempt ends sooner, unless it waits for a dead connection


class Client:
    """A connection to one service. Any number of calls may be in flight, from any number of tasks of one event loop.

    ``timeout`` is the longest, in seconds, that a call waits for its answer, lost connections included.
    """

    def __init__(self, url: str, service: str = "db", timeout: float = 30.0) -> None:
        parsed = urlsplit(url)
        if parsed.scheme not in {"amqp", "amqps"} or not parsed.hostname:  # aio-pika would retry without end
            raise ValueError("the broker's URL must look like amqp://user:password@host/")
        self._url = url
        self._service = service
        self._names = wire.Names(service)
        self._timeout = timeout
        self._connection: AbstractRobustConnection
        self._requests, self._single_requests = (
            RequestChannel(self._open_requests),
            RequestChannel(self._open_requests),
        )
        self._publishing_singly = asyncio.Lock()
        self._pending: dict[str, asyncio.Future[Reply]] = {}  # by correlation id
        self._closed: asyncio.Future[None]

    async def __aenter__(self) -> Self:
        """Connect. A lost connection is restored automatically. Raises ConnectionError and TimeoutError."""
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
        """The number of calls that wait for their replies."""
        return len(self._pending)

    async def call(self, operation: str, body: object = None, **options: Unpack[Options]) -> dict[str, Any]:
        """Send a request and return the body of its reply. Raises the Problem of the reply, NoReply and NoService.

        ``body`` is anything that Pydantic serialises to a JSON object, including UUIDs, datetimes and models.
        """
        return (await self.request(operation, body, **options)).answer()

    async def request(self, operation: str, body: object = None, **options: Unpack[Options]) -> Reply:
        """Send a request and return its reply, also that of a problem. Raises NoReply and NoService."""
        message = write_request(body, options)
        message.reply_to = wire.DIRECT_REPLY_TO
        message.correlation_id = str(uuid.uuid4())  # per call: two calls with one message_id both get a reply
        async with self._within_timeout(operation, message, options):
            return await self._repeat_while_lost(lambda: self._send_and_wait(operation, message))

    async def send(self, operation: str, body: object = None, **options: Unpack[Options]) -> str:
        """Publish a request without a reply, and return its ``message_id``.

        Raises NoReply if the broker does not confirm it in time, and NoService.
        """
        message = write_request(body, options)
        async with self._within_timeout(operation, message, options):
            await self._repeat_while_lost(lambda: self._publish(operation, message))
        return str(message.message_id)

    async def serving(self, timeout: float | None = None) -> bool:
        """Whether the service consumes requests at this moment.

        Raises NoService if the service was never started, ConnectionError if the broker does not answer within
        ``timeout`` seconds (None: the client's timeout).
        """
        return await self._in_time(self._is_consumed, self._timeout if timeout is None else timeout)

    @asynccontextmanager
    async def events(self, pattern: str = "#") -> AsyncIterator[AsyncIterator[Event]]:
        """Subscribe to the events whose names match the topic ``pattern``, such as ``session.*`` or ``#``.

        The queue exists as long as the connection. When the connection is lost, the iteration raises ConnectionError,
        and events are missed until the program subscribes again. A subscriber that must not miss events declares a
        durable queue. Raises NoService.
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
            # Every process of the service consumes the queue of reads.
            queue = await channel.declare_queue(self._names.reads, passive=True)
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
        """Retry until the broker answers. Raises ConnectionError after ``seconds`` without an answer."""
        try:
            async with asyncio.timeout(seconds):
                return await self._repeat_while_lost(attempt)
        except TimeoutError:
            raise ConnectionError(f"the broker gave no answer within {seconds:g} s") from None

    @asynccontextmanager
    async def _within_timeout(self, operation: str, message: aio_pika.Message, options: Options) -> AsyncIterator[None]:
        """Raise NoReply after the timeout of the request, and NoService if the broker cannot route it."""
        seconds = self._timeout if (given := options.get("timeout")) is None else given
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise NoReply(operation, seconds, str(message.message_id)) from None
        except _NO_SERVICE as error:
            raise NoService(self._service) from error

    async def _repeat_while_lost[T](self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Retry after each loss of the connection. The service applies a request once, by its ``message_id``.

        Raises ConnectionError as soon as the client is closed.
        """
        backoff = Backoff(longest=LONGEST_DELAY)
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
                if isinstance(error, _REFUSED) or not isinstance(error, connections.CONNECTION_ERRORS):
                    raise error
            await asyncio.wait({self._closed}, timeout=backoff.delay())
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

    async def _send_and_wait(self, operation: str, message: aio_pika.Message) -> Reply:
        """Publish the request and wait for its reply."""
        correlation_id = str(message.correlation_id)
        expected: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = expected
        try:
            await self._publish(operation, message)
            return await expected
        finally:
            del self._pending[correlation_id]

    async def _publish(self, operation: str, message: aio_pika.Message) -> None:
        """Publish a request. If the channel closes with PRECONDITION_FAILED, publish it again on its own.

        The broker closes a channel when one message is too large, and all messages on the channel fail. Published one
        by one on another channel, only the message that is too large fails.
        """
        try:
            await self._requests.publish(message, operation)
        except exceptions.ChannelPreconditionFailed:
            async with self._publishing_singly:
                await self._single_requests.publish(message, operation)

    async def _open_requests(self) -> aio_pika.Exchange:
        """Open a channel that consumes direct replies: the broker sends a reply to the channel of its request."""
        channel = await self._open_channel()
        channel.close_callbacks.add(self._cancel_pending)
        replies = await channel.get_queue(wire.DIRECT_REPLY_TO, ensure=False)
        await replies.consume(self._receive_reply, no_ack=True)
        return aio_pika.Exchange(channel, self._names.requests)

    async def _open_channel(self) -> aio_pika.Channel:
        """Open a channel that is not robust: a restored channel would hide that pending replies are lost."""
        await self._connection.ready()
        channel = aio_pika.Channel(self._connection, on_return_raises=True)
        await channel.initialize()
        return channel

    async def _receive_reply(self, message: AbstractIncomingMessage) -> None:
        """Pass the reply to the call that waits for it. A call that has timed out does not."""
        expected = self._pending.get(message.correlation_id or "")
        if expected and not expected.done():
            expected.set_result(read_reply(message))

    def _cancel_pending(self, *_: object) -> None:
        """Cancel the waiting calls of a closed channel, which gets no replies. Each sends its request again."""
        for expected in self._pending.values():
            expected.cancel()


async def _end(running: asyncio.Future[Any]) -> None:
    """Cancel the attempt if it still runs, and return when it has ended. Raises nothing of what the attempt raises."""
    if running.cancel():
        await asyncio.wait({running}, timeout=END_TIMEOUT)
    if running.done() and not running.cancelled():
        running.exception()  # retrieved, or asyncio logs it
