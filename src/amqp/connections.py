"""Connections and channels to RabbitMQ, of the service and of its client, and the errors of those that are lost."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ssl import SSLCertVerificationError
from typing import Any, cast

import aiormq
from aio_pika import RobustConnection, connect_robust
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError
from yarl import URL

from ..backoff import Backoff
from ..errors import why
from .frame_reader import FrameTransport, OpenRefused
from .frames import FrameHandler

log = logging.getLogger(__name__)

PORTS = {"amqp": 5672, "amqps": 5671}
CONNECT_TIMEOUT = 10  # seconds: longer than TCP, TLS and the login take with a broker under load
HEARTBEAT = 10  # seconds: a peer that is gone is noticed after two; RabbitMQ advises 5 to 20
RECONNECT_INTERVAL = 1  # seconds: a broker that restarts is not flooded with logins
REPLY_RECONNECT_INTERVAL = 0.1  # seconds: any requester may end the connection that replies go out by
CLOSE_TIMEOUT = 5  # seconds: a broker that answers at all closes a channel sooner
ALARM_WARNING_DELAY = 1  # seconds: a shorter alarm of memory or disk is not worth a warning
LONGEST_READY_DELAY = 0.5  # seconds: only a loss that aio-pika has not noticed yet is polled
FIRST_START_DELAY = 0.5  # seconds: a broker that starts takes several
NOT_ALLOWED = 530  # a reply code of AMQP

CONNECTION_ERRORS = (AMQPError, OSError, RuntimeError)
"""Errors of a call on a connection or channel that is lost; aiormq raises RuntimeError for one that is closed."""


class StartupError(Exception):
    """The broker or database refuses the login, or has a topology or schema other than this version needs."""


class TolerantConnection(RobustConnection):
    """A connection for ``connect_robust(connection_class=…)`` that no message can end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._frames = self.kwargs["transport_factory"] = FrameTransport()

    @property
    def is_ready(self) -> bool:
        """Whether the connection is up and no resource alarm blocks it at the moment."""
        up = cast("aiormq.abc.AbstractConnection | None", self.transport and self.transport.connection)
        lives = up is not None and not up.is_closed
        return lives and self.connected.is_set() and not self._frames.reader.blocked

    def add_frame_handler(self, channel: Channel, handler: FrameHandler) -> None:
        """Pass the frames of this channel to ``handler`` before aiormq, until the channel is closed."""
        handlers = self._frames.reader.frame_handlers
        handlers[channel.number] = handler

        def remove(_: object) -> None:
            if handlers.get(channel.number) is handler:
                del handlers[channel.number]

        channel.closing.add_done_callback(remove)


async def connect(url: str, name: str, interval: float | None = None) -> TolerantConnection:
    """Connect. The connection reconnects from then on, every ``interval`` seconds. Raises CONNECTION_ERRORS."""
    return await connect_robust(
        connection_url(url, name),
        timeout=CONNECT_TIMEOUT,
        reconnect_interval=RECONNECT_INTERVAL if interval is None else interval,
        connection_class=TolerantConnection,
    )


class Outbound:
    """A connection that messages are published over."""

    def __init__(self, url: str, name: str, interval: float | None = None) -> None:
        self._url = url
        self._name = name
        self._interval = interval
        self.connection: TolerantConnection | None = None

    async def connect(self) -> TolerantConnection:
        """Connect. The connection reconnects from then on. Raises CONNECTION_ERRORS."""
        self.connection = await connect(self._url, self._name, self._interval)
        return self.connection

    async def ready(self) -> aiormq.abc.AbstractConnection:
        """Wait until the connection is up and no resource alarm blocks it. Raises ConnectionError once it is closed."""
        return await ready(self.connection)

    async def open_channel(self, handler: FrameHandler | None = None) -> Channel:
        """Open a channel on this connection once it is up."""
        return await open_channel(self.connection, handler)

    async def close(self) -> None:
        if self.connection:
            await self.connection.close()


async def ready(connection: TolerantConnection | None) -> aiormq.abc.AbstractConnection:
    """Wait until the connection is up and no resource alarm blocks it. Raises ConnectionError once it is closed."""
    backoff = Backoff(longest=LONGEST_READY_DELAY)
    while connection is not None and not connection.is_closed:
        await connection.connected.wait()
        up = connection.transport and connection.transport.connection
        if up and await _unblocked(up):
            return up
        await backoff.pause()
    raise ConnectionError("the connection is closed")


async def _unblocked(up: aiormq.abc.AbstractConnection) -> bool:
    """Wait until no resource alarm blocks the connection. Return False if it is closed before."""
    unblocked, closing = asyncio.ensure_future(up.ready()), up.closing
    try:
        done, _ = await asyncio.wait(
            {unblocked, closing}, timeout=ALARM_WARNING_DELAY, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            log.warning("RabbitMQ takes no messages (an alarm of memory or disk?): waiting")
            await asyncio.wait({unblocked, closing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unblocked.cancel()
        closing.cancel()  # a future of this call's own
    return unblocked.done() and not up.is_closed


async def open_channel(connection: TolerantConnection | None, handler: FrameHandler | None = None) -> Channel:
    """Open a channel in confirm mode that does not reopen itself; ``handler`` gets its frames before aiormq."""
    up = await ready(connection)
    channel = cast("Channel", await up.channel(timeout=CONNECT_TIMEOUT, publisher_confirms=True))
    if connection and handler:
        connection.add_frame_handler(channel, handler)
    return channel


async def close_channel(channel: Channel) -> None:
    """Close the channel. Ignore errors: the channel of a lost connection is closed already."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await channel.close()
    except CONNECTION_ERRORS as error:
        log.debug("a channel did not close: %r", error)


async def wait_until_up(url: str) -> None:
    """Wait until the broker accepts a connection. Raises StartupError if it refuses the login or the virtual host."""
    backoff = Backoff(first=FIRST_START_DELAY)
    while True:
        try:
            connection = await asyncio.wait_for(open_plain(url, "probe"), CONNECT_TIMEOUT)
        except (AuthenticationError, ProbableAuthenticationError) as error:
            raise StartupError(f"RabbitMQ at {address(url)} refuses the login: {error}") from error
        except (AMQPError, OSError) as error:
            if isinstance(error.__cause__, SSLCertVerificationError):
                raise StartupError(f"RabbitMQ at {address(url)} is not trusted: {error.__cause__}") from error
            if is_vhost_refused(error):
                vhost = URL(url).path.removeprefix("/") or "/"
                raise StartupError(
                    f"RabbitMQ at {address(url)} has no virtual host {vhost!r} for this user."
                ) from error
            log.warning("waiting for RabbitMQ at %s: %s", address(url), why(error))
            await backoff.pause()
        else:
            await connection.close()
            return


async def retry_refused[T](url: str, connect: Callable[[], Awaitable[T]]) -> T:
    """Return what ``connect`` returns, and call it again while a limit of the broker refuses the connection."""
    backoff = Backoff(first=FIRST_START_DELAY)
    while True:
        try:
            return await connect()
        except OpenRefused as error:
            log.warning("waiting for RabbitMQ at %s: %s", address(url), why(error))
            await backoff.pause()


async def open_plain(url: str, name: str) -> aiormq.abc.AbstractConnection:
    """Open a connection that does not reconnect. Raises OpenRefused with the reason of a broker that refuses."""
    return await aiormq.connect(connection_url(url, name), transport_factory=FrameTransport())


def is_vhost_refused(error: Exception) -> bool:
    """Whether the virtual host does not exist or is closed to the user; a limit that is reached passes."""
    return isinstance(error, OpenRefused) and error.code == NOT_ALLOWED and not is_limit(error)


def is_limit(error: Exception) -> bool:
    """Whether the broker refuses because a limit of connections or queues is reached."""
    return re.search(r" limit .*\(\d+\) is reached$", str(error)) is not None


def cancelled_by_caller() -> bool:
    """Whether a caller cancelled the current task. aiormq also cancels tasks that wait on a connection it closes."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def translate_cancellation() -> Iterator[None]:
    """Raise ConnectionError instead of the CancelledError with which aiormq ends waits on a connection it closes."""
    try:
        yield
    except asyncio.CancelledError:
        if cancelled_by_caller():
            raise
        raise ConnectionError("the connection was closed") from None


def connection_url(url: str, name: str) -> str:
    """Return the URL with the connection's name and heartbeat, which aiormq reads from its query."""
    parsed = URL(url)
    return str(parsed.update_query({"heartbeat": str(HEARTBEAT), "name": name} | dict(parsed.query)))


def address(url: str) -> str:
    """Return the host and port of the URL, without the password."""
    parsed = URL(url)
    return f"{parsed.host}:{parsed.port or PORTS[parsed.scheme]}"
