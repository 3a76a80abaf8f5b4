"""The stream that aiormq reads, which passes the frames of some channels to frame handlers instead.

aiormq reads each frame with three awaits and creates a task for each message. A frame handler gets the frames of its
channel synchronously, as many as the socket had.

This depends on three properties of aiormq: its ``FrameReceiver`` reads with ``StreamReader.readexactly``, the transport
factory is an argument of the connection, and any frame resets its heartbeat monitor.
"""

import asyncio
from typing import Any

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError, AMQPError
from yarl import URL

from . import frames, sanitizing

LIVENESS_INTERVAL = 1.0  # seconds: shorter than the heartbeat interval, in which aiormq expects to see a frame

_HEARTBEAT = frames.frame(frames.HEARTBEAT, 0, b"")
_REFUSALS = (530, 541)  # NOT_ALLOWED, INTERNAL_ERROR: reply codes of a virtual host that is not opened
_KINDS = (frames.METHOD, frames.HEADER, frames.BODY, frames.HEARTBEAT)


class OpenRefused(AMQPError):
    """The broker has closed a connection instead of opening its virtual host, with this reply code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class FrameReader(asyncio.StreamReader):
    """Split what arrives into frames, and pass those that no frame handler takes to aiormq, sanitized."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.frame_handlers: dict[int, frames.FrameHandler] = {}  # by channel number
        self._opened = False
        self.blocked = False  # by a resource alarm of the broker
        self._clock = loop.time
        self._rest = b""  # the beginning of a frame
        self._fed_at = 0.0

    def feed_data(self, data: Any) -> None:
        """Handle bytes that the transport has read."""
        data = self._rest + data if self._rest else data
        at, taken = 0, False
        while len(data) - at >= frames.HEAD.size:
            kind, channel, size = frames.HEAD.unpack_from(data, at)
            if kind not in _KINDS:
                super().feed_data(data[at:])  # not AMQP: aiormq raises
                at = len(data)
                break
            begin, end = at + frames.HEAD.size, at + frames.HEAD.size + size
            if end >= len(data):
                break
            payload, handler = data[begin:end], self.frame_handlers.get(channel)
            if handler is not None and handler(kind, payload):
                taken = True
            elif payload or kind != frames.BODY:  # pamqp rejects an empty body frame
                self._pass_on(kind, channel, payload)
            at = end + 1
        self._rest = data[at:]
        if taken and self._clock() - self._fed_at > LIVENESS_INTERVAL:
            self._fed_at = self._clock()
            super().feed_data(_HEARTBEAT)

    def _pass_on(self, kind: int, channel: int, payload: bytes) -> None:
        if kind == frames.HEADER:
            payload = sanitizing.sanitize_header(payload)
        elif kind == frames.METHOD:
            self._opened |= payload[:4] == frames.OPEN_OK
            if payload[:4] == frames.CLOSE and not self._opened and (code := int.from_bytes(payload[4:6])) in _REFUSALS:
                text = payload[7 : 7 + payload[6]].decode(errors="replace")
                self.set_exception(OpenRefused(code, text))  # aiormq would raise an error without the text
                return
            if payload[:4] in {frames.BLOCKED, frames.UNBLOCKED}:
                self.blocked = payload[:4] == frames.BLOCKED
            payload = sanitizing.sanitize_method(payload)
        super().feed_data(frames.frame(kind, channel, payload))


class FrameTransport(TransportFactory):
    """TCP or TLS by the URL's scheme, read through a ``FrameReader``; ``reader`` is that of the newest connection."""

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
