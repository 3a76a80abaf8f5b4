"""The stream that aiormq reads from a socket, with taps: frames that are taken before aiormq sees them.

aiormq reads each frame with three awaits and hands each message over in a task. A tap is given the frames of its
channel synchronously, as many as the socket had.

What it leans on: aiormq's ``FrameReceiver`` reads by ``StreamReader.readexactly``, the transport factory is an argument
of the connection, and any frame counts as a sign of life.
"""

import asyncio
from typing import Any

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from . import frames, sanitizing

LIVENESS_INTERVAL = 1.0  # seconds: shorter than the heartbeat interval, in which aiormq expects to see a frame

_HEARTBEAT = frames.frame(frames.HEARTBEAT, 0, b"")
_KINDS = (frames.METHOD, frames.HEADER, frames.BODY, frames.HEARTBEAT)


class FrameReader(asyncio.StreamReader):
    """The stream that aiormq reads: what arrives is cut into frames, and those that a tap takes do not reach it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.taps: dict[int, frames.FrameHandler] = {}  # by the number of their channel
        self._clock = loop.time
        self._rest = b""  # of a frame that has not arrived whole
        self._seen_alive = 0.0

    def feed_data(self, data: Any) -> None:
        """Called by the transport with whatever it has read."""
        data = self._rest + data if self._rest else data
        at, taken = 0, False
        while len(data) - at >= frames.HEAD.size:
            kind, channel, size = frames.HEAD.unpack_from(data, at)
            if kind not in _KINDS:
                super().feed_data(data[at:])  # no AMQP: aiormq says so
                at = len(data)
                break
            begin, end = at + frames.HEAD.size, at + frames.HEAD.size + size
            if end >= len(data):
                break
            payload, tap = data[begin:end], self.taps.get(channel)
            if tap is not None and tap(kind, payload):
                taken = True
            elif payload or kind != frames.BODY:  # an empty piece says nothing, and pamqp takes none
                self._hand_on(kind, channel, payload)
            at = end + 1
        self._rest = data[at:]
        if taken:
            self._show_life()

    def _hand_on(self, kind: int, channel: int, payload: bytes) -> None:
        if kind == frames.HEADER:
            payload = sanitizing.tolerable_header(payload)
        elif kind == frames.METHOD:
            payload = sanitizing.tolerable_method(payload)
        super().feed_data(frames.frame(kind, channel, payload))

    def _show_life(self) -> None:
        if self._clock() - self._seen_alive > LIVENESS_INTERVAL:
            self._seen_alive = self._clock()
            super().feed_data(_HEARTBEAT)


class FrameTransport(TransportFactory):
    """TCP or TLS, as the URL says, read through a ``FrameReader``; ``reader`` is that of the newest connection."""

    reader: FrameReader

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop, provider = asyncio.get_running_loop(), kwargs.pop("ssl_context_provider")
        tls = await provider.get_context() if url.scheme == "amqps" else None
        reader = FrameReader(loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, str(url.host), url.port or 0, ssl=tls, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.reader = reader
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
