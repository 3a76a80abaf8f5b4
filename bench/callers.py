"""Those who ask and wait for the answer before they ask again, and how long they wait."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from statistics import quantiles

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from bench.requests import Request
from bench.scene import Failed, Scene
from src import wire

ANSWER_SECONDS = 5  # for the answers that are due when the program has ended


class Caller:
    """Publishes requests with an address for direct replies, and hands each answer to who asked."""

    def __init__(self, channel: AbstractChannel, exchange: str) -> None:
        self._channel = channel
        self._exchange = exchange
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[DeliveredMessage]] = {}

    async def listen(self) -> None:
        await self._channel.basic_consume(wire.DIRECT_REPLY_TO, self._answered, no_ack=True)

    async def call(self, request: Request, delivery_mode: int = 1) -> bytes:
        """The answer to the request."""
        number = str(next(self._ids))
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        properties = Basic.Properties(
            content_type=wire.JSON,
            message_id=request.message_id,
            correlation_id=number,
            reply_to=wire.DIRECT_REPLY_TO,
            delivery_mode=delivery_mode,
        )
        await self._channel.basic_publish(
            request.body, exchange=self._exchange, routing_key=request.routing_key, properties=properties
        )
        message = await answer
        if message.header.properties.content_type == wire.PROBLEM:
            raise Failed(f"{request.routing_key} was answered {message.body.decode()}")
        return bytes(message.body)

    async def _answered(self, message: DeliveredMessage) -> None:
        self._waiting.pop(str(message.header.properties.correlation_id)).set_result(message)


@asynccontextmanager
async def connected(rabbitmq_url: str, exchange: str) -> AsyncIterator[Caller]:
    """A caller on a connection of its own."""
    async with await aiormq.connect(rabbitmq_url) as connection:
        caller = Caller(await connection.channel(publisher_confirms=False), exchange)
        await caller.listen()
        yield caller


@asynccontextmanager
async def calling(rabbitmq_url: str, one: Scene) -> AsyncIterator[list[float]]:
    """The scene's callers ask on and on; the list of the seconds that each answer took grows."""
    requests, waits = one.workload.requests(), list[float]()
    async with connected(rabbitmq_url, one.exchange) as caller:
        asking = [asyncio.create_task(_ask(caller, requests, waits)) for _ in range(one.callers)]
        try:
            yield waits
        finally:
            for task in asking:
                task.cancel()
            ended = await asyncio.gather(*asking, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def _ask(caller: Caller, requests: Iterator[Request], waits: list[float]) -> None:
    for request in requests:
        begun = time.perf_counter()
        await caller.call(request)
        waits.append(time.perf_counter() - begun)


async def reach(waits: list[float], counted: int) -> None:
    """Wait for the answers that are still on their way. Raises Failed where there are fewer than were counted."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while len(waits) < counted:  # noqa: ASYNC110 - a list tells nobody that it grows
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise Failed(f"{len(waits)} answers, where {counted} requests were counted") from None


def percentiles(waits: Sequence[float]) -> tuple[float, float]:
    """The 50th and the 99th, in milliseconds."""
    cut = quantiles(waits, n=100, method="inclusive")
    return cut[49] * 1000, cut[98] * 1000
