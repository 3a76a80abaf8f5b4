"""Redis: a thin client that holds up nobody. What is kept there may be gone at any time, and must not be missed.

::

    async with Cache("redis://127.0.0.1/0", "db") as cache:
        await cache.set("greeting", b"hello", expiry=60)

Where Redis does not answer a call fails within the timeout, and those after it at once: whether it is back is asked in
the background, so that no caller waits for that.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import DataError, ResponseError
from yarl import URL

PROBE_INTERVAL = 1.0  # seconds: callers do without Redis meanwhile, so a quicker probe gains little
PAGE = 500  # keys that a SCAN looks at
CONNECTIONS = 10  # of one process, at the most; who finds none free waits

_PATTERN = re.compile(rb"[*?\[\]\\]")  # what a pattern of SCAN has a meaning for


class RedisUnavailable(Exception):
    """Redis does not answer, or not what was asked; the message says where and why, and holds no password."""


class RedisClient:
    """One Redis. Every key lies under ``prefix``; ``timeout`` is the longest, in seconds, that it may take to answer.

    Each method raises Away.
    """

    def __init__(self, url: str, prefix: str, timeout: float = 1.0) -> None:
        self.place = f"Redis at {_place(url)}"
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=None,  # a command has its timeout as a whole
            socket_timeout=None,
            socket_connect_timeout=None,
            protocol=2,  # nothing of 3 is used, and what 3 says of a login that is missing tells nobody
            retry=Retry(NoBackoff(), 1),  # on a new connection: a restart is no outage
        )
        self._redis: Any = Redis.from_pool(pool)
        self._prefix = f"{prefix}:".encode()
        self._timeout = timeout
        self._asking: asyncio.Task[None] | None = None  # while it is away

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """See whether Redis lets us in. It may be used where it does not, too: it is waited for in the background."""
        await self.ping()

    async def close(self) -> None:
        """Raises nothing."""
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        with contextlib.suppress(Exception):  # of a connection that is given up anyway
            await self._redis.aclose()

    async def ping(self) -> None:
        await self._ask("PING")

    async def version(self) -> str:
        """The server's."""
        return str((await self._ask("INFO", "server"))["redis_version"])

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._ask("GET", self._key(key))
        return value

    async def set(self, key: str, value: bytes, expiry: float) -> None:
        """``expiry`` is in seconds, a thousandth at the least."""
        await self._ask("SET", self._key(key), value, "PX", max(1, round(expiry * 1000)))

    async def delete(self, *keys: str) -> int:
        """How many there were."""
        return await self._delete([self._key(key) for key in keys])

    async def get_prefix(self, prefix: str) -> dict[str, bytes]:
        """Every value whose key begins so; of those that come and go meanwhile some."""
        found = dict[str, bytes]()
        async for keys in self._scan(prefix):
            values = await self._ask("MGET", *keys)
            named = (key[len(self._prefix) :].decode() for key in keys)
            found |= {name: value for name, value in zip(named, values, strict=True) if value is not None}
        return found

    async def delete_prefix(self, prefix: str) -> int:
        """Delete every key that begins so; how many there were."""
        return sum([await self._delete(keys) async for keys in self._scan(prefix)])

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[int]) -> Any:
        """What the script, in Lua, returns. Redis keeps it compiled, and runs nothing else meanwhile."""
        return await self._ask("EVAL", script, len(keys), *map(self._key, keys), *arguments)

    def _key(self, name: str) -> bytes:
        return self._prefix + name.encode()

    async def _delete(self, keys: Sequence[bytes]) -> int:
        return int(await self._ask("DEL", *keys)) if keys else 0

    async def _scan(self, prefix: str) -> AsyncIterator[list[bytes]]:
        """The keys, in parts that are not empty. KEYS would stop all others until it has looked at everything."""
        cursor, pattern = 0, _PATTERN.sub(rb"\\\g<0>", self._key(prefix)) + b"*"
        while True:
            cursor, keys = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
            if keys:
                yield keys
            if not int(cursor):
                return

    async def _ask(self, *command: bytes | str | float) -> Any:
        """Redis' answer. The first call that gets none opens the breaker, which the background closes again."""
        if self._asking:
            raise RedisUnavailable(f"{self.place} is away")
        try:
            return await self._answer(*command)
        except RedisUnavailable as away:
            if not isinstance(away.__cause__, (ResponseError, DataError)):  # else it answers
                self._asking = self._asking or asyncio.create_task(self._wait_for_it())
            raise

    async def _answer(self, *command: bytes | str | float) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._redis.execute_command(*command)
        except Exception as error:  # who answers may be no Redis, and then the library raises anything
            raise RedisUnavailable(f"{self.place}: {str(error).partition('\n')[0] or 'no answer in time'}") from error

    async def _wait_for_it(self) -> None:
        away = True
        while away:
            await asyncio.sleep(PROBE_INTERVAL)
            with contextlib.suppress(RedisUnavailable):
                await self._answer("PING")
                away = False
        self._asking = None


def _place(url: str) -> str:
    parsed = URL(url)
    return f"{parsed.host}:{parsed.port or 6379}"
