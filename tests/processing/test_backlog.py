"""Thousands of requests that collide, waiting in the queue: answered, told and written as if asked one by one."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import hypothesis
import pytest

import config
from src.database import Database
from src.service import Service
from tests.support import exact_json, harness, requester, worlds
from tests.support.cases import Case, cases
from tests.support.requester import Collected, Message, Requester
from tests.support.worlds import Played, Sent

COUNT = 5000
LAST = Sent("user.create", {"id": "ffffffff-0000-0000-0000-000000000000", "username": "the end"})


@pytest.fixture
def requests() -> list[Sent]:
    """Those of many cases, one after the other; each has its own keys."""
    found: list[Sent] = []

    @hypothesis.settings(deadline=None, database=None, max_examples=COUNT, phases=[hypothesis.Phase.generate])
    @hypothesis.given(cases())
    def collect(case: Case) -> None:
        if len(found) < COUNT:
            found.extend((*case.before, *case.sent))

    with contextlib.suppress(hypothesis.errors.FailedHealthCheck):
        collect()
    return found[:COUNT]


@contextlib.asynccontextmanager
async def prepared(postgres_url: str, template: str, rabbitmq_url: str) -> AsyncIterator[config.Settings]:
    """Settings of a service that has been there once, with the tables of the programs."""
    async with harness.isolated(postgres_url, template, rabbitmq_url) as settings:
        database = Database(settings.dsn)
        await worlds.prepare(database)
        await database.dispose()
        async with running(settings):
            pass
        yield settings


def running(settings: config.Settings) -> contextlib.AbstractAsyncContextManager[Service]:
    return harness.running(settings, worlds.ENTITIES)


async def publish(db: Requester, sent: Sent) -> Any:
    headers: dict[str, Any] = {"dry-run": sent.dry} | ({"deadline": "2026-01-01T00:00:00Z"} if sent.late else {})
    return await db.publish(sent.operation, exact_json.encode(sent.body), sent.key or None, headers)


async def asked_one_by_one(settings: config.Settings, asked: Sequence[Sent]) -> Played:
    async with (
        requester.asking(settings) as db,
        requester.listening(settings, harness.names(settings).events) as events,
        running(settings),
    ):
        answers = [await (await publish(db, sent)) for sent in asked]
        return await outcome(settings, answers, events)


async def asked_as_a_backlog(settings: config.Settings, asked: Sequence[Sent]) -> Played:
    async with (
        requester.asking(settings) as db,
        requester.listening(settings, harness.names(settings).events) as events,
    ):
        answers = [await publish(db, sent) for sent in asked]
        async with running(settings):
            return await outcome(settings, await requester.finished(answers), events)


async def outcome(settings: config.Settings, answers: Sequence[Message], events: Collected) -> Played:
    told = await events.until(b"the end")
    database = Database(settings.dsn)
    rows = await worlds.rows(database)
    await database.dispose()
    return worlds.comparable([spoken(message) for message in (*answers, *told)], rows)


def spoken(message: Message) -> dict[str, Any]:
    """What an answer or an event says."""
    return {
        "name": message.name,
        "type": message.type,
        "content_type": message.content_type,
        "entity_version": message.headers.get("entity-version"),
        "body": exact_json.decode(message.body),
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_backlog_is_served_as_if_it_had_been_asked_one_by_one(
    postgres_url: str, template: str, rabbitmq_url: str, requests: list[Sent]
) -> None:
    asked = [*requests, LAST]
    async with (
        prepared(postgres_url, template, rabbitmq_url) as one,
        prepared(postgres_url, template, rabbitmq_url) as other,
    ):
        apart, together = await asked_one_by_one(one, asked), await asked_as_a_backlog(other, asked)
    assert len(asked) == COUNT + 1
    assert together.answers == apart.answers
    assert together.rows == apart.rows
