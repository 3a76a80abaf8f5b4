"""The client of Redis: what it keeps, what it finds, and that it holds up nobody."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from yarl import URL

from dev import ports
from dev.redis import RedisServer
from src import redis_client
from src.redis_client import RedisClient, RedisUnavailable
from tests.faults.test_watched import frozen
from tests.support import harness

PATIENT = 60.0  # seconds: a busy machine is no outage
NAMES = [
    "",
    " ",
    "a",
    "*",
    "?",
    "[a-z]",
    "a\\",
    "\\*",
    "\n\r\n",
    "\x00",
    "{a}b",
    "ü" * 127,
    "\U0001f600" * 63,
    "x" * 255,
]


@pytest.fixture
async def kept(redis_url: str) -> AsyncIterator[RedisClient]:
    """A cache with a prefix of its own, emptied at the end."""
    async with RedisClient(redis_url, f"test-{uuid.uuid4().hex[:12]}", PATIENT) as opened:
        yield opened
        await opened.delete_prefix("")


@contextlib.asynccontextmanager
async def fragile(server: RedisServer, timeout: float = PATIENT) -> AsyncIterator[RedisClient]:
    """A cache in the Redis that is to be broken."""
    opened = RedisClient(server.url, "test", timeout)
    yield opened
    await opened.close()


async def answers(opened: RedisClient) -> bool:
    try:
        await opened.ping()
    except RedisUnavailable:
        return False
    return True


async def test_a_value_is_kept_under_any_name_until_it_is_deleted(kept: RedisClient) -> None:
    for name in NAMES:
        assert await kept.get(name) is None
        await kept.set(name, name.encode(), expiry=PATIENT)
    assert [await kept.get(name) for name in NAMES] == [name.encode() for name in NAMES]
    assert await kept.delete(*NAMES, "never there") == len(NAMES)
    assert await kept.delete() == 0
    assert await kept.get_prefix("") == {}


@pytest.mark.parametrize(("expiry", "milliseconds"), [(60, 60_000), (0.5, 500), (0.00001, 1)])
async def test_a_value_expires(kept: RedisClient, redis_url: str, expiry: float, milliseconds: int) -> None:
    await kept.set("soon", b"gone", expiry)
    async with Redis.from_url(redis_url) as raw:
        assert await raw.pttl(kept._key("soon")) <= milliseconds
    if milliseconds == 1:
        await harness.eventually(lambda: _is_gone(kept), "it has expired")


async def _is_gone(kept: RedisClient) -> bool:
    return await kept.get("soon") is None


@pytest.mark.parametrize("name", [name for name in NAMES if name])
async def test_what_begins_with_a_name_is_found_and_deleted_and_nothing_else(kept: RedisClient, name: str) -> None:
    await kept.set("other", b"0", PATIENT)
    for end in ("", "1", "*"):
        await kept.set(name + end, end.encode(), PATIENT)
    assert await kept.get_prefix(name) == {name: b"", f"{name}1": b"1", f"{name}*": b"*"}
    assert await kept.delete_prefix(name) == 3
    assert await kept.get_prefix("") == {"other": b"0"}


async def test_of_two_prefixes_neither_sees_the_other(kept: RedisClient, redis_url: str) -> None:
    async with RedisClient(redis_url, f"{kept._prefix.decode()}x", PATIENT) as other:
        await kept.set("same", b"ours", PATIENT)
        await other.set("same", b"theirs", PATIENT)
        assert await other.delete_prefix("") == 1
    assert await kept.get_prefix("") == {"same": b"ours"}


async def test_more_keys_than_a_page_are_found_by_scan_alone(private_redis: RedisServer) -> None:
    async with fragile(private_redis) as opened, Redis.from_url(private_redis.url) as raw:
        names = {f"many:{number}": b"%d" % number for number in range(3 * redis_client.PAGE)}
        await asyncio.gather(*(opened.set(name, value, PATIENT) for name, value in names.items()))
        assert await opened.get_prefix("many:") == names
        assert await opened.delete_prefix("many:") == len(names)
        used = await raw.info("commandstats")
    assert "cmdstat_scan" in used
    assert "cmdstat_keys" not in used


async def test_a_restart_is_no_outage_to_who_asks_after_it(private_redis: RedisServer) -> None:
    async with fragile(private_redis) as opened:
        await opened.open()
        await asyncio.to_thread(private_redis.restart)
        await opened.ping()


async def test_while_it_is_away_calls_fail_and_once_it_is_back_they_do_not(private_redis: RedisServer) -> None:
    async with fragile(private_redis) as opened:
        await asyncio.to_thread(private_redis.stop)
        with pytest.raises(RedisUnavailable, match=f"Redis at 127.0.0.1:{private_redis.port}: "):
            await opened.open()
        with pytest.raises(RedisUnavailable, match="is away"):
            await opened.get("x")
        await asyncio.to_thread(private_redis.start)
        await harness.eventually(lambda: answers(opened), "it is back")


async def test_of_calls_to_a_frozen_one_the_first_waits_and_the_others_do_not(private_redis: RedisServer) -> None:
    async with fragile(private_redis, timeout=1) as opened:
        await harness.eventually(lambda: answers(opened), "it answers")
        with frozen(private_redis):
            with pytest.raises(RedisUnavailable, match="no answer in time"):
                await opened.get("x")
            began = time.monotonic()
            for _ in range(200):
                with pytest.raises(RedisUnavailable, match="is away"):
                    await opened.get("x")
            assert time.monotonic() - began < 100  # with a wait for each it would be 200 seconds
        await harness.eventually(lambda: answers(opened), "it is back")


async def test_many_calls_that_fail_together_are_one_outage(private_redis: RedisServer) -> None:
    async with fragile(private_redis, timeout=1) as opened:
        await harness.eventually(lambda: answers(opened), "it answers")
        with frozen(private_redis):
            failed = await asyncio.gather(*(opened.get("x") for _ in range(50)), return_exceptions=True)
        assert {type(each) for each in failed} == {RedisUnavailable}
        await harness.eventually(lambda: answers(opened), "it is back")


async def test_a_refusal_is_one_calls_and_no_outage(kept: RedisClient) -> None:
    await kept.set("text", b"no number", PATIENT)
    with pytest.raises(RedisUnavailable, match="not an integer"):
        await kept.run("return redis.call('INCR', KEYS[1])", ["text"], [])
    assert await kept.get("text") == b"no number"


async def test_a_wrong_password_is_told_and_not_shown(private_redis: RedisServer) -> None:
    for url in (URL(private_redis.url).with_password("geheim"), URL(private_redis.url).with_password(None)):
        with pytest.raises(RedisUnavailable) as caught:
            await RedisClient(str(url), "test", PATIENT).__aenter__()
        assert "assword" in str(caught.value) or "uthentication" in str(caught.value)
        assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff\x00\r\n", b"*1000000\r\n", b"$-5\r\n"]
)
async def test_whatever_is_no_redis_is_away(said: bytes) -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()
        await writer.wait_closed()

    (port,) = ports.free(1)
    async with await asyncio.start_server(say, "127.0.0.1", port):
        with pytest.raises(RedisUnavailable):
            await RedisClient(f"redis://127.0.0.1:{port}/0", "test", 5).__aenter__()


async def test_a_database_that_is_not_there_is_told(private_redis: RedisServer) -> None:
    with pytest.raises(RedisUnavailable, match="out of range"):
        await RedisClient(str(URL(private_redis.url).with_path("/99")), "test", PATIENT).__aenter__()
