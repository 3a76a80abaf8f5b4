"""The HTTP endpoint of health checks and metrics, in the event loop of the service. It answers GET and HEAD alone."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from src.admin import exposition
from src.admin.exposition import Metrics
from src.admin.health import OK, Health, Parts
from src.amqp.connections import StartupError

MAX_CONNECTIONS = 100  # at a time: connections that clients leave open must not use up the file descriptors
GRACE = 1  # seconds: how long a request that is being answered may delay the stop


def application(health: Health, metrics: Metrics) -> Starlette:
    """Return the application with the routes."""

    async def live(_: Request) -> Response:
        return _response(health.live())

    async def ready(_: Request) -> Response:
        return _response(await health.ready())

    async def expose(_: Request) -> Response:
        return Response(await metrics.exposition(), media_type=exposition.CONTENT_TYPE)

    paths = {"/health/live": live, "/health/ready": ready, "/metrics": expose}
    return Starlette(routes=[Route(path, answer, methods=["GET"]) for path, answer in paths.items()])


@asynccontextmanager
async def serving(
    app: Starlette, host: str, port: int, on_failure: Callable[[BaseException], None]
) -> AsyncIterator[None]:
    """Serve while the block runs. Raises StartupError where the port is taken; ``on_failure`` gets a later error."""
    listening = _listen(host, port)
    server = _Server(_configuration(app))

    def watch(task: "asyncio.Task[None]") -> None:
        if not server.should_exit:
            on_failure((not task.cancelled() and task.exception()) or RuntimeError("HTTP has ended"))

    with listening:
        serving = asyncio.create_task(server.serve([listening]), name="http")
        serving.add_done_callback(watch)
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)


def _configuration(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )


class _Connection(H11Protocol):
    """Closes the oldest connection where there are too many, so that a new one is always answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = monotonic()
        connections = cast("set[_Connection]", self.connections)
        if len(connections) > MAX_CONNECTIONS:
            oldest = min(connections, key=lambda each: each.since)
            connections.discard(oldest)
            oldest.transport.abort()


class _Server(uvicorn.Server):
    """Handles no signals: the service does."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except UnicodeError as error:
        raise StartupError(f"HTTP_HOST: {host} is no host") from error
    except OSError as error:
        reason = (error.strerror or "").partition(" (")[0].lower()
        raise StartupError(f"HTTP_PORT: {host}:{port} is not to be had: {reason}") from error


def _response(parts: Parts) -> Response:
    well = all(said == OK for said in parts.values())
    return JSONResponse({"ok": well, "parts": parts}, status_code=200 if well else 503)
