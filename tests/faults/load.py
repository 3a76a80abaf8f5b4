"""Requests in flight while something fails, and what must have become of them."""

import asyncio
import contextlib
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self

import sqlalchemy as sa

import config
from dev import nodes
from src import wire
from src.client import Client, Reply
from src.models.session import Session
from tests.support import harness, requester

MANY = 250
AUDIT = "audit"


class Load:
    """Requests in flight, from one client: each makes a session, or renames the one that they share.

    Each has a row or a version of its own, so that what is lost, doubled or out of order is seen.
    """

    def __init__(self, client: Client, settings: config.Settings, size: int = MANY) -> None:
        self.client = client
        self._settings = settings
        self._url = settings.dsn
        self._shared = str(uuid.uuid4())
        made = [("session.create", {"id": str(uuid.uuid4()), "title": "made"}) for _ in range(size)]
        renamed = [("session.update", {"id": self._shared, "title": str(number)}) for number in range(size)]
        shared = ("session.create", {"id": self._shared, "title": "made"})
        self._requests = [shared, *itertools.chain.from_iterable(zip(made, renamed, strict=True))]
        self._ids = [str(uuid.uuid4()) for _ in self._requests]
        self.replies: dict[str, Reply] = {}
        self._answered = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._sending = asyncio.gather(*self._send())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)

    def _send(self) -> Iterator[Awaitable[Reply]]:
        for message_id, (operation, body) in zip(self._ids, self._requests, strict=True):
            yield self._ask(message_id, operation, body)

    async def _ask(self, message_id: str, operation: str, body: dict[str, Any]) -> Reply:
        reply = await self.client.request(operation, body, message_id=message_id)
        async with self._answered:
            self.replies[message_id] = reply
            self._answered.notify_all()
        return reply

    async def answered(self, share: float) -> None:
        """Wait until this share of the requests is answered."""
        async with asyncio.timeout(harness.DEADLINE), self._answered:
            await self._answered.wait_for(lambda: len(self.replies) >= share * len(self._ids))

    async def assert_told_once(self) -> None:
        """No request was served a second time, not even in vain: each has told of its event once."""
        await self.answered(1)
        audit = harness.names(self._settings).events + AUDIT
        await harness.eventually(lambda: self._told(audit), "all events are there")
        assert await harness.depth(self._settings, audit) == len(self._ids)

    async def _told(self, audit: str) -> bool:
        return await harness.depth(self._settings, audit) >= len(self._ids)

    async def assert_exactly_once(self, *, ordered: bool = True) -> None:
        """Every request is answered, and once more with the same bytes; the rows, versions and events are theirs."""
        first = await self._sending
        again = await asyncio.gather(*self._send())
        assert [reply.body for reply in again] == [reply.body for reply in first]
        assert [reply.type for reply in first] == [operation for operation, _ in self._requests]
        renames = [json.loads(reply.body) for reply in first if reply.type == "session.update"]
        versions = [rename["version"] for rename in renames]
        assert (versions if ordered else sorted(versions)) == list(range(2, len(renames) + 2))
        assert [rename["title"] for rename in renames] == [str(number) for number in range(len(renames))]
        await self._assert_rows(max(renames, key=lambda rename: int(rename["version"])))
        await self._assert_events()
        await self._assert_settled()

    async def _assert_rows(self, last: dict[str, Any]) -> None:
        expected = {body["id"]: ("made", 1) for operation, body in self._requests if operation == "session.create"}
        expected[self._shared] = (last["title"], last["version"])
        found = await harness.fetch(self._url, sa.select(Session.id, Session.title, Session.version))
        assert {str(row_id): tuple(rest) for row_id, *rest in found} == expected
        assert await harness.fetch(self._url, "SELECT count(*) FROM inbox") == [(len(self._ids),)]

    async def _assert_events(self) -> None:
        """Each at least once under one id, those of a row by its version."""
        told: dict[str | None, int] = {}
        async with requester.taking(self._settings, harness.names(self._settings).events + AUDIT) as events:
            while len(told) < len(self._ids):
                event = await events.one()
                shared = event.headers[f"{wire.CLOUD_EVENT}subject"] == self._shared
                told.setdefault(event.id, event.headers[wire.ENTITY_VERSION] if shared else 0)
        versions = [version for version in told.values() if version]
        assert versions == list(range(1, len(self._ids) // 2 + 2))  # it was made, and renamed by every second request

    async def _assert_settled(self) -> None:
        names = harness.names(self._settings)
        assert await harness.depth(self._settings, names.dead) == 0
        assert await harness.depth(self._settings, names.partition(0)) == 0


@contextlib.asynccontextmanager
async def loaded(settings: config.Settings, size: int = MANY) -> AsyncIterator[Load]:
    """A load on the service, which runs, and a queue that keeps its events."""
    url, names = settings.rabbitmq_url.get_secret_value(), harness.names(settings)
    async with harness.channel(url) as raw:
        audit = await raw.declare_queue(names.events + AUDIT, durable=True)
        await audit.bind(names.events, "#")
    async with harness.connected(settings) as client, Load(client, settings, size) as load:
        yield load
    async with harness.channel(url) as raw:
        await raw.queue_delete(names.events + AUDIT)


async def assert_outlived[S: nodes.Node](settings: config.Settings, server: S, end: Callable[[S], None]) -> None:
    """The server ends twice under load, and starts again: nothing is lost or done twice."""
    async with harness.Process(settings) as process:
        await process.consuming()
        async with loaded(settings) as load:
            for share in (0.2, 0.5):
                await load.answered(share)
                await asyncio.to_thread(end, server)
                await asyncio.to_thread(server.start)
            await load.assert_exactly_once()
