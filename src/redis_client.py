"""A small Redis client that never delays its callers. Redis may lose a value at any time; callers must not need it.

::

    async with RedisClient("redis://127.0.0.1/0", "db") as redis:
        await redis.set("greeting", b"hello", expiry=60)

When Redis does not answer, the call fails within the timeout and later calls fail at once. A background task probes
Redis until it answers, so that no caller waits for that.
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
PAGE = 500  # keys that one SCAN examines
CONNECTIONS = 10  # of one process; a call waits while all of them are in use

_PATTERN = re.compile(rb"[*?\[\]\\]")  # the special characters of a SCAN pattern


class RedisUnavailable(Exception):
    """Redis does not answer, or answers with an error. The message says where and why, and contains no password."""


class RedisClient:
    """A client of one Redis server. Every key begins with ``prefix``; a command may take ``timeout`` seconds.

    Every method but ``close`` raises RedisUnavailable.
    """

    def __init__(self, url: str, prefix: str, timeout: float = 1.0) -> None:
        parsed = URL(url)
        self.place = f"Redis at {parsed.host}:{parsed.port or 6379}"
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=None,  # the timeout is that of a whole command
            socket_timeout=None,
            socket_connect_timeout=None,
            protocol=2,  # protocol 3 has nothing needed here, and a vague error when the login is missing
            retry=Retry(NoBackoff(), 1),  # once, on a new connection: Redis may have restarted
        )
        self._redis: Any = Redis.from_pool(pool)
        self._prefix = f"{prefix}:".encode()
        self._timeout = timeout
        self._probing: asyncio.Task[None] | None = None  # while Redis does not answer

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
        """Check that Redis accepts the connection and the login. If it does not, later calls may still succeed."""
        await self.ping()

    async def close(self) -> None:
        """Close the connections. Raises nothing."""
        if self._probing:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        with contextlib.suppress(Exception):  # the connection is given up anyway
            await self._redis.aclose()

    async def ping(self) -> None:
        await self._call("PING")

    async def version(self) -> str:
        """Return the version of the server."""
        return str((await self._call("INFO", "server"))["redis_version"])

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._call("GET", self._key(key))
        return value

    async def set(self, key: str, value: bytes, expiry: float) -> None:
        """Store the value for ``expiry`` seconds, at least a millisecond."""
        await self._call("SET", self._key(key), value, "PX", max(1, round(expiry * 1000)))

    async def delete(self, *keys: str) -> int:
        """Delete the keys and return how many existed."""
        return await self._delete([self._key(key) for key in keys])

    async def get_prefix(self, prefix: str) -> dict[str, bytes]:
        """Return the values by key for the prefix. A key that is added or removed meanwhile may be missing."""
        found = dict[str, bytes]()
        async for keys in self._scan(prefix):
            values = await self._call("MGET", *keys)
            named = (key[len(self._prefix) :].decode() for key in keys)
            found |= {name: value for name, value in zip(named, values, strict=True) if value is not None}
        return found

    async def delete_prefix(self, prefix: str) -> int:
        """Delete the keys with the prefix and return how many existed."""
        return sum([await self._delete(keys) async for keys in self._scan(prefix)])

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[int]) -> Any:
        """Run a Lua script and return its result. Redis caches the compiled script, and runs it atomically."""
        return await self._call("EVAL", script, len(keys), *map(self._key, keys), *arguments)

    def _key(self, name: str) -> bytes:
        return self._prefix + name.encode()

    async def _delete(self, keys: Sequence[bytes]) -> int:
        return int(await self._call("DEL", *keys)) if keys else 0

    async def _scan(self, prefix: str) -> AsyncIterator[list[bytes]]:
        """Yield non-empty lists of keys. KEYS would block other clients until it has examined every key."""
        cursor, pattern = 0, _PATTERN.sub(rb"\\\g<0>", self._key(prefix)) + b"*"
        while True:
            cursor, keys = await self._call("SCAN", cursor, "MATCH", pattern, "COUNT", PAGE)
            if keys:
                yield keys
            if not int(cursor):
                return

    async def _call(self, *command: bytes | str | float) -> Any:
        """Execute the command. The first call without an answer opens the circuit breaker, which ``_probe`` closes."""
        if self._probing:
            raise RedisUnavailable(f"{self.place} is away")
        try:
            return await self._execute(*command)
        except RedisUnavailable as error:
            if not isinstance(error.__cause__, (ResponseError, DataError)):  # with these Redis does answer
                self._probing = self._probing or asyncio.create_task(self._probe())
            raise

    async def _execute(self, *command: bytes | str | float) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._redis.execute_command(*command)
        except Exception as error:  # a server that is not Redis makes the library raise anything
            raise RedisUnavailable(f"{self.place}: {str(error).partition('\n')[0] or 'no answer in time'}") from error

    async def _probe(self) -> None:
        """Return when Redis answers again."""
        while self._probing:
            await asyncio.sleep(PROBE_INTERVAL)
            with contextlib.suppress(RedisUnavailable):
                await self._execute("PING")
                self._probing = None
