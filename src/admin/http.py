"""HTTP beside the service, in the same loop: is it alive, is it ready, what has it counted. GET and HEAD alone."""

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

MOST = 100  # connections at a time: those that somebody leaves open must not use up the process's files
GRACE = 1  # seconds that whoever is being answered may hold up the end


def application(health: Health, measured: Metrics) -> Starlette:
    """What answers at each path."""

    async def live(_: Request) -> Response:
        return _judged(health.live())

    async def ready(_: Request) -> Response:
        return _judged(await health.ready())

    async def expose(_: Request) -> Response:
        return Response(await measured.exposition(), media_type=exposition.CONTENT_TYPE)

    paths = {"/health/live": live, "/health/ready": ready, "/metrics": expose}
    return Starlette(routes=[Route(path, answer, methods=["GET"]) for path, answer in paths.items()])


@asynccontextmanager
async def answering(
    app: Starlette, host: str, port: int, on_failure: Callable[[BaseException], None]
) -> AsyncIterator[None]:
    """Answer meanwhile. Raises Refused where the port is not to be had; ``on_failure`` is told of an end by itself."""
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
    """The newest is always answered: where there are too many, the oldest is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = monotonic()
        connections = cast("set[_Connection]", self.connections)
        if len(connections) > MOST:
            oldest = min(connections, key=lambda each: each.since)
            connections.discard(oldest)
            oldest.transport.abort()


class _Server(uvicorn.Server):
    """Leaves the signals to the service."""

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


def _judged(parts: Parts) -> Response:
    well = all(said == OK for said in parts.values())
    return JSONResponse({"ok": well, "parts": parts}, status_code=200 if well else 503)
