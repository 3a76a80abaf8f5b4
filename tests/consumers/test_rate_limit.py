"""RATE_LIMIT: no sender has more of its requests served than that, however many replicas there are."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from yarl import URL

import config
from dev import ports
from dev.redis import RedisServer
from src import errors, service
from src.admin.findings import Level
from src.consumers.rate_limit import RateLimit
from src.redis_client import RedisClient
from src.service import Service
from src.startup import serving_http
from tests.faults.test_watched import frozen
from tests.support import harness, requester, scraped
from tests.support.requester import Requester
from tests.support.scraped import value

PATIENT = 60.0  # seconds: a busy machine is no outage of Redis
MICROSECONDS = 1_000_000
SENDERS = ["", "ada", " ", "*", "\n", "\x00", "limit:1:ada", "{ada}", "ü" * 127, "\U0001f600" * 63, "x" * 255]
GONE = "senders are not limited until Redis answers"
BACK = "senders are limited again"


def limited(settings: config.Settings, redis_url: str, rate: str, timeout: float = PATIENT) -> config.Settings:
    """The settings, with a limit."""
    more = {"redis_url": SecretStr(redis_url), "redis_timeout": timeout, "rate_limit": rate}
    return settings.model_copy(update=more)


@contextlib.asynccontextmanager
async def serving(settings: config.Settings) -> AsyncIterator[tuple[Service, Requester]]:
    """The service, and who asks it; what it has counted is forgotten at the end."""
    async with harness.running(settings) as running, requester.asking(settings) as db:
        try:
            yield running, db
        finally:
            with contextlib.suppress(Exception):  # of a Redis that was broken, or that nobody needs
                await forget(settings)


async def forget(settings: config.Settings) -> None:
    """As if nobody had asked for anything yet."""
    assert settings.redis_url
    async with RedisClient(settings.redis_url.get_secret_value(), settings.service_name, PATIENT) as cache:
        await cache.delete_prefix("limit:")


@contextlib.asynccontextmanager
async def replicas(redis_url: str, requests: int, seconds: int) -> AsyncIterator[list[RateLimit]]:
    """Two that count together."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    async with RedisClient(redis_url, name, PATIENT) as one, RedisClient(redis_url, name, PATIENT) as other:
        yield [RateLimit(one, requests, seconds), RateLimit(other, requests, seconds)]
        await one.delete_prefix("")


async def now(raw: "Redis") -> int:
    """Microseconds, as Redis has them."""
    seconds, microseconds = await raw.time()
    return int(seconds) * MICROSECONDS + int(microseconds)


async def test_no_second_holds_more_requests_than_the_limit_of_two_replicas(redis_url: str) -> None:
    spans = list[tuple[int, int, int]]()  # not before, not after, admitted

    async def ask(limit: RateLimit, until: int) -> None:
        while (before := await now(raw)) < until:
            admitted = (await limit.admit(["ada"] * 7)).count(None)
            spans.append((before, await now(raw), admitted))

    async with replicas(redis_url, 100, 1) as limits, Redis.from_url(redis_url) as raw:
        began = await now(raw)
        await asyncio.gather(*(ask(limit, began + 3 * MICROSECONDS) for limit in limits))
        ended = await now(raw)
    for start, _, _ in spans:
        within = [number for first, last, number in spans if start <= first and last <= start + MICROSECONDS]
        assert sum(within) <= 100
    total = sum(number for _, _, number in spans)
    assert 200 <= total <= 100 * (1 + (ended - began) / MICROSECONDS)


async def test_what_is_admitted_at_once_is_the_limit_and_the_first_are(redis_url: str) -> None:
    async with replicas(redis_url, 10, 3600) as (one, other):
        first = await one.admit(["ada"] * 4 + ["bob"] + ["ada"] * 4)
        second = await other.admit(["bob"] + ["ada"] * 4)
        third = await one.admit(["ada"])
    assert first == [None] * 9
    assert second[:3] == [None] * 3
    assert all(0 < (seconds or 0) <= 3600 * 1.05 for seconds in [*second[3:], *third])


async def test_who_comes_back_when_told_to_is_admitted(redis_url: str) -> None:
    async with replicas(redis_url, 3, 1) as (one, other), Redis.from_url(redis_url) as raw:
        waits = [seconds for seconds in await one.admit(["ada"] * 9) if seconds is not None]
        back = await now(raw) + max(waits) * MICROSECONDS
        while await now(raw) < back:
            pass
        assert await other.admit(["ada"]) == [None]


@pytest.mark.parametrize("seconds", [1, 60, 3600])
async def test_each_sender_is_counted_apart_whatever_its_name(redis_url: str, seconds: int) -> None:
    async with replicas(redis_url, 2, seconds) as (one, other):
        assert await one.admit(SENDERS * 2) == [None] * 2 * len(SENDERS)
        if seconds > 1:  # else a busy machine may be in the next window
            assert None not in await other.admit(SENDERS)


async def test_what_is_counted_is_forgotten_by_redis_itself(redis_url: str) -> None:
    async with replicas(redis_url, 2, 60) as (one, _), Redis.from_url(redis_url) as raw:
        await one.admit(["ada"])
        assert 0 < await raw.pttl(one._redis._key("limit:60:ada")) <= 63_000


async def test_what_is_no_count_of_ours_is_counted_anew(redis_url: str) -> None:
    async with replicas(redis_url, 1, 3600) as (one, other), Redis.from_url(redis_url) as raw:
        await raw.set(one._redis._key("limit:3600:text"), "of another's")
        await raw.hset(one._redis._key("limit:3600:hash"), "of another's", "too")
        senders = ["ada", "text", "hash"]
        assert await one.admit(senders) == [None] * 3
        assert None not in await other.admit(senders)


async def test_two_replicas_serve_no_more_of_a_sender_than_the_limit(
    own_settings: config.Settings, redis_url: str
) -> None:
    settings = limited(own_settings, redis_url, "60/h")
    async with serving(settings) as (one, db), harness.running(settings) as other:
        asked = [_spied(each) for each in (one, other)]
        published = [await db.publish("session.count") for _ in range(500)]
        answers = await requester.finished(published)
    assert all(asked)
    assert sum(map(len, asked)) == 500
    kinds = [answer.kind for answer in answers]
    assert (kinds.count("session.count"), kinds.count("rate-limited")) == (60, 440)


def _spied(running: Service) -> list[str]:
    """The senders that this replica asks for, in a list that grows."""
    senders, limit = list[str](), running.rate_limit
    assert limit
    admit = limit.admit

    async def noted(asked: Any) -> list[float | None]:
        senders.extend(asked)
        return await admit(asked)

    vars(limit)["admit"] = noted
    return senders


async def test_a_refused_write_is_not_stored_and_served_when_it_comes_again(
    own_settings: config.Settings, redis_url: str
) -> None:
    settings = limited(own_settings, redis_url, "3/h")
    names = harness.names(settings)
    async with serving(settings) as (_, db), requester.listening(settings, names.events) as events:
        answers = [await db.ask("session.create", {}, f"id-{number}") for number in range(5)]
        assert [each.problem for each in answers] == [None] * 3 + ["rate-limited"] * 2
        told = answers[3].document
        assert (told["status"], told["retryable"]) == (429, True)
        assert 0 < told["retry_after"] <= 3600 * 1.05
        assert await _stored(settings) == 3
        await forget(settings)
        assert (await db.ask("session.create", {}, "id-3")).problem is None
        assert await _stored(settings) == 4
        assert [event.name for event in await events.take(4)] == ["session.created"] * 4


async def _stored(settings: config.Settings) -> int:
    ((count,),) = await harness.fetch(settings.dsn, "SELECT count(*) FROM inbox")
    return int(count)


async def test_what_was_served_before_is_answered_the_same_however_many_there_are(
    own_settings: config.Settings, redis_url: str
) -> None:
    settings = limited(own_settings, redis_url, "2/h")
    names = harness.names(settings)
    async with serving(settings) as (_, db), requester.listening(settings, names.events) as events:
        served = await db.ask("session.create", {}, "served")
        refused = await db.ask("session.create", {"status": "no such"}, "invalid")  # from its bytes, and not counted
        final = await db.ask("session.close", {"id": str(uuid.UUID(int=1))}, "final")
        for _ in range(3):
            assert await db.ask("session.create", {}, "served") == served
            assert await db.ask("session.close", {"id": str(uuid.UUID(int=1))}, "final") == final
            assert (await db.ask("session.create", {}, str(uuid.uuid4()))).problem == "rate-limited"
            assert (await db.ask("session.create", {"title": "other"}, "served")).problem == "rate-limited"
        assert (served.problem, refused.problem, final.problem) == (None, "invalid", "not-found")
        created = [event for event in await events.take(8) if event.name == "session.created"]
    assert len(created) == 4
    assert {event.id for event in created} == {created[0].id}


async def test_of_a_batch_the_rest_is_served_in_its_order(own_settings: config.Settings, redis_url: str) -> None:
    settings, row = limited(own_settings, redis_url, "2/h"), str(uuid.uuid4())
    guest, nobody = dict[str, Any](user_id="guest"), dict[str, Any]()
    async with requester.asking(settings) as db:
        async with harness.running(settings):
            pass  # declares its queues
        bodies = [{"id": row}, *({"id": row, "title": str(number)} for number in range(6))]
        operations = ["session.create", *["session.update"] * 6]
        senders = [guest, guest, guest, nobody, guest, nobody, nobody]
        published = [
            await db.publish(operation, body, str(uuid.uuid4()), **sender)
            for operation, body, sender in zip(operations, bodies, senders, strict=True)
        ]
        async with serving(settings):
            answers = await requester.finished(published)
    assert [answer.problem == "rate-limited" for answer in answers] == [False, False, True, False, True, False, True]
    served = [answer.document for answer in answers if not answer.problem]
    assert [(each["version"], each["title"]) for each in served] == [(1, None), (2, "0"), (3, "2"), (4, "4")]


async def test_senders_are_told_apart_by_what_the_broker_has_checked(
    own_settings: config.Settings, redis_url: str
) -> None:
    settings = limited(own_settings, redis_url, "2/h")
    async with serving(settings) as (_, db):
        anonymous = [(await db.ask("session.count")).problem for _ in range(3)]
        named = [(await db.ask("session.count", user_id="guest")).problem for _ in range(3)]
    assert anonymous == named == [None, None, "rate-limited"]


async def test_a_dry_run_counts_and_what_is_decided_from_the_bytes_does_not(
    own_settings: config.Settings, redis_url: str
) -> None:
    settings = limited(own_settings, redis_url, "1/h")
    async with serving(settings) as (_, db):
        malformed = [(await db.ask("session.create", b"{", str(uuid.uuid4()))).problem for _ in range(3)]
        dry = [(await db.ask("session.create", {}, "dry", {"dry-run": True})).problem for _ in range(2)]
    assert malformed == ["malformed"] * 3
    assert dry == [None, "rate-limited"]


async def test_a_refused_write_that_nobody_waits_for_is_a_dead_letter(
    own_settings: config.Settings, redis_url: str
) -> None:
    settings = limited(own_settings, redis_url, "1/h")
    names = harness.names(settings)
    async with serving(settings) as (_, db), requester.listening(settings, names.dead) as dead:
        await db.ask("session.create", {}, "first")
        await db.publish("session.create", {}, "second", reply_to=None)
        assert (await dead.one()).reason == "rate-limited"


async def test_a_client_is_told_when_to_come_back(own_settings: config.Settings, redis_url: str) -> None:
    settings = limited(own_settings, redis_url, "1/h")
    async with serving(settings), harness.connected(settings) as client:
        await client.call("session.count")
        with pytest.raises(errors.RateLimited) as caught:
            await client.call("session.count")
    assert caught.value.retryable
    assert 0 < (caught.value.retry_after or 0) <= 3600 * 1.05


async def test_without_a_limit_nothing_is_counted(own_settings: config.Settings, redis_url: str) -> None:
    settings = own_settings.model_copy(update={"redis_url": SecretStr(redis_url)})
    async with serving(settings) as (running, db):
        assert running.rate_limit is None
        await db.ask("session.count")
        async with RedisClient(redis_url, settings.service_name, PATIENT) as cache:
            assert await cache.get_prefix("") == {}


@contextlib.contextmanager
def unlimited(count: int) -> Any:
    """So many requests are counted as served without the limit."""
    before = value("db_unlimited_requests_total")
    yield
    assert value("db_unlimited_requests_total") - before == count


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


@pytest.mark.parametrize("wrong", ["away", "password"])
async def test_a_redis_that_lets_nobody_in_costs_the_limit_and_one_warning(
    own_settings: config.Settings, private_redis: RedisServer, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    (closed, http) = ports.free(2)
    url = URL(private_redis.url).with_port(closed) if wrong == "away" else URL(private_redis.url)
    settings = limited(own_settings, str(url.with_password("geheim")), "1/h").model_copy(update={"http_port": http})
    with unlimited(20):
        async with serving(settings) as (running, db), serving_http(running):
            for number in range(10):
                assert (await db.ask("session.create", {}, f"id-{number}")).problem is None
                assert (await db.ask("session.count")).problem is None
            assert (await scraped.ask(http, "/health/ready")).status == 200
    (warned,) = said(caplog, GONE)
    assert f"Redis at 127.0.0.1:{url.port}: " in warned
    assert "geheim" not in caplog.text
    (found,) = [each for each in await service.examine(settings) if "Redis" in each.line]
    assert found.level is Level.WARNING
    assert f"Redis at 127.0.0.1:{url.port}: " in found.line
    assert "no sender is limited" in found.line
    assert "geheim" not in found.line


@pytest.mark.parametrize("rate", [None, "1/h"])
async def test_a_redis_that_lets_us_in_is_found_with_its_version(
    own_settings: config.Settings, redis_url: str, rate: str | None
) -> None:
    settings = own_settings.model_copy(update={"redis_url": SecretStr(redis_url), "rate_limit": rate})
    (found,) = [each for each in await service.examine(settings) if "Redis" in each.line]
    assert found.level is Level.OK
    assert ", version " in found.line
    assert ("of no use" in found.line) == (rate is None)


async def test_the_limit_goes_with_redis_and_comes_back_with_it(
    own_settings: config.Settings, private_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = limited(own_settings, private_redis.url, "2/h")
    async with serving(settings) as (_, db):

        async def is_limited() -> bool:
            return (await db.ask("session.count")).problem == "rate-limited"

        await harness.eventually(is_limited, "the limit is reached")
        await asyncio.to_thread(private_redis.stop)
        for number in range(5):
            assert (await db.ask("session.create", {}, f"id-{number}")).problem is None
        await asyncio.to_thread(private_redis.start)  # has forgotten what it had counted
        await harness.eventually(is_limited, "the limit is back")
    assert (len(said(caplog, GONE)), len(said(caplog, BACK))) == (1, 1)


async def test_a_frozen_redis_delays_one_batch_and_no_more(
    own_settings: config.Settings, private_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = limited(own_settings, private_redis.url, "1/h", timeout=1)
    async with serving(settings) as (_, db):
        with frozen(private_redis):
            loop = asyncio.get_running_loop()
            await db.ask("session.create", {}, "first")
            began = loop.time()
            for number in range(30):
                assert (await db.ask("session.create", {}, f"id-{number}")).problem is None
            assert loop.time() - began < 25  # with a wait for each it would be more than 30
        assert len(said(caplog, GONE)) == 1
