"""A service that is kept from hearing that the broker has taken what it publishes."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

from src.amqp.frames import Message as Outgoing
from src.amqp.publisher import RetryPolicy
from src.service import Service
from tests.support import harness, requester
from tests.support.requester import Message, Requester


class Held:
    """``reached`` when something was published; ``batches`` are how many messages at a time."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.batches: list[int] = []


@contextlib.contextmanager
def hold(service: Service, exchange: str) -> Iterator[Held]:
    """Keep the service from hearing that the broker has taken what goes to an exchange, until released or left."""
    held, publisher = Held(), service.publisher if exchange else service.replier
    publish = publisher.publish

    async def publish_and_wait(messages: Sequence[Outgoing], tries: RetryPolicy) -> list[bool]:
        if not messages or messages[0].exchange != exchange:
            return await publish(messages, tries)
        held.batches.append(len(messages))
        taken = await publish(messages, tries)
        held.reached.set()
        await held.released.wait()
        return taken

    with mock.patch.object(publisher, "publish", publish_and_wait):
        try:
            yield held
        finally:
            held.released.set()


async def ask_together(service: Service, db: Requester, requests: Sequence[Any]) -> list[Message]:
    """The answers to (operation, body, message_id, …) each, that wait for another request, and so are one batch."""

    async def arrived() -> bool:
        return service.broker.batch_subscribers[0].waiting == len(requests)

    with hold(service, "") as held:
        await db.publish("user.create", {"username": "the one before"})
        await held.reached.wait()
        answers = [await db.publish(*request) for request in requests]
        await harness.eventually(arrived, "all have arrived")
        held.released.set()
        finished = await requester.finished(answers)
    assert held.batches == [1, len(requests)]
    return finished
