"""Connections to RabbitMQ, of the service in both directions and of its client: names, timeouts, how they are lost."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLCertVerificationError
from typing import Any, cast

import aiormq
from aio_pika import RobustConnection, connect_robust
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError, AuthenticationError, InvalidFrameError, ProbableAuthenticationError
from yarl import URL

from ..backoff import Backoff
from ..errors import why
from .frame_reader import FrameTransport
from .frames import FrameHandler

log = logging.getLogger(__name__)

PORTS = {"amqp": 5672, "amqps": 5671}
CONNECT_TIMEOUT = 10  # seconds: longer than TCP, TLS and the login take with a broker under load
HEARTBEAT = 10  # seconds: a peer that is gone is noticed after two; RabbitMQ advises 5 to 20
RECONNECT_INTERVAL = 1  # seconds: a broker that restarts is not flooded with logins
REPLY_RECONNECT_INTERVAL = 0.1  # seconds: any requester may end the connection that replies go out by
CLOSE_TIMEOUT = 5  # seconds: a broker that answers at all closes a channel sooner
ALARM_WARNING_DELAY = 1  # seconds: a shorter alarm of memory or disk is not worth a warning

LOST = (AMQPError, OSError, RuntimeError)
"""What a call on a connection or channel that is gone raises; aiormq raises RuntimeError for one that is closed."""


class StartupError(Exception):
    """The broker or the database does not let us in, or has something of ours that differs from what we need."""


class TolerantConnection(RobustConnection):
    """A connection for ``connect_robust(connection_class=…)`` that no message can end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._frames = self.kwargs["transport_factory"] = FrameTransport()

    def tap(self, channel: Channel, taker: FrameHandler) -> None:
        """Give the frames of this channel to ``taker`` first, until it is closed."""
        taps = self._frames.reader.taps
        taps[channel.number] = taker

        def untap(_: object) -> None:
            if taps.get(channel.number) is taker:
                del taps[channel.number]

        channel.closing.add_done_callback(untap)


async def connect(url: str, name: str, interval: float | None = None) -> TolerantConnection:
    """A connection that heals itself from now on, at each ``interval``. Raises what aio-pika raises."""
    return await connect_robust(
        named(url, name),
        timeout=CONNECT_TIMEOUT,
        reconnect_interval=RECONNECT_INTERVAL if interval is None else interval,
        connection_class=TolerantConnection,
    )


class Outbound:
    """A connection that messages go out by."""

    def __init__(self, url: str, name: str, interval: float | None = None) -> None:
        self._url = url
        self._name = name
        self._interval = interval
        self.connection: TolerantConnection | None = None

    async def connect(self) -> TolerantConnection:
        """Connect; from then on the connection heals itself. Raises what aio-pika raises."""
        self.connection = await connect(self._url, self._name, self._interval)
        return self.connection

    async def ready(self) -> aiormq.abc.AbstractConnection:
        """Wait until the connection is up and not blocked by an alarm of the broker."""
        return await ready(self.connection)

    async def open_channel(self, tap: FrameHandler | None = None) -> Channel:
        """A plain channel on this connection, once that is up."""
        return await open_channel(self.connection, tap)

    async def close(self) -> None:
        if self.connection:
            await self.connection.close()


async def ready(connection: TolerantConnection | None) -> aiormq.abc.AbstractConnection:
    """Wait until the connection is up and not blocked by an alarm of the broker."""
    backoff = Backoff(longest=0.5)
    while connection is not None and not connection.is_closed:
        await connection.connected.wait()
        up = connection.transport and connection.transport.connection
        if up and await _unblocked(up):
            return up
        await backoff.pause()
    raise ConnectionError("the connection is closed")


async def _unblocked(up: aiormq.abc.AbstractConnection) -> bool:
    """Whether the connection takes messages, once no alarm blocks it; a blocked one that dies is never unblocked."""
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
        closing.cancel()  # an observer of our own, and one more each time
    return unblocked.done() and not up.is_closed


async def open_channel(connection: TolerantConnection | None, tap: FrameHandler | None = None) -> Channel:
    """A plain channel (one that does not reopen itself), with confirms; ``tap`` is given its frames first."""
    up = await ready(connection)
    channel = cast("Channel", await up.channel(timeout=CONNECT_TIMEOUT, publisher_confirms=True))
    if connection and tap:
        connection.tap(channel, tap)
    return channel


async def close_channel(channel: Channel) -> None:
    """Close the channel if it can be; the end of its connection closes it anyway."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await channel.close()
    except LOST as error:
        log.debug("a channel did not close: %r", error)


async def wait_until_up(url: str) -> None:
    """Return when the broker lets us in. Raises Refused where it answers, but does not."""
    backoff = Backoff(first=0.5)
    while True:
        try:
            connection = await asyncio.wait_for(aiormq.connect(named(url, "probe")), CONNECT_TIMEOUT)
        except (AuthenticationError, ProbableAuthenticationError) as error:
            raise StartupError(f"RabbitMQ at {place(url)} refuses the login: {error}") from error
        except InvalidFrameError as error:  # after the login: it closes instead of opening
            raise StartupError(
                f"RabbitMQ at {place(url)} has no virtual host {_vhost(url)!r} for this user."
            ) from error
        except (AMQPError, OSError) as error:
            if isinstance(error.__cause__, SSLCertVerificationError):
                raise StartupError(f"RabbitMQ at {place(url)} is not trusted: {error.__cause__}") from error
            log.warning("waiting for RabbitMQ at %s: %s", place(url), why(error))
            await backoff.pause()
        else:
            await connection.close()
            return


def told_to_end() -> bool:
    """Whether we have cancelled the running task: aiormq cancels whoever waits on a connection that it closes."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def cancelled_by_loss() -> Iterator[None]:
    """Raise ConnectionError, one of ``LOST``, where aiormq cancels us because it closes the connection."""
    try:
        yield
    except asyncio.CancelledError:
        if told_to_end():
            raise
        raise ConnectionError("the connection was closed") from None


def named(url: str, name: str) -> str:
    """With the name that the broker lists the connection under, and a heartbeat; aiormq reads both from the query."""
    parsed = URL(url)
    return str(parsed.update_query({"heartbeat": str(HEARTBEAT), "name": name} | dict(parsed.query)))


def place(url: str) -> str:
    """Host and port, without the password."""
    parsed = URL(url)
    return f"{parsed.host}:{parsed.port or PORTS[parsed.scheme]}"


def _vhost(url: str) -> str:
    return URL(url).path.removeprefix("/") or "/"
