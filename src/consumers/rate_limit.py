"""Rate limit of each sender over all replicas: a sliding window, counted in Redis.

The window moves in slots of a twentieth. The slots that it touches, the current one and twenty before it, hold no more
requests together than the limit, so that no stretch of that many seconds does. The time is that of Redis.
"""

import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from src.amqp.frames import Delivery
from src.consumers.messages import Received
from src.consumers.request_batch import Apply, Outcomes, RequestBatch
from src.entity import Operation
from src.errors import Problem, RateLimited
from src.redis_client import RedisClient, RedisUnavailable
from src.telemetry import metrics

log = logging.getLogger(__name__)

SLOTS = 20  # that a window has
MICROSECONDS = 1_000_000

# KEYS: senders. ARGV: the limit, the microseconds of a slot, the number of slots, then the requests of each sender.
# Returns one text: for each sender the requests that are admitted, and the microseconds until others may be.
# A value of another type under a sender's key is deleted: an error would leave the other senders without a limit.
_COUNT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit, width, slots = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local slot = math.floor(now / width)
local answer = {}
for index, key in ipairs(KEYS) do
  local used, oldest = 0, slot
  local counts = redis.pcall('HGETALL', key)
  if counts.err then
    redis.call('DEL', key)
  end
  for at = 1, #counts, 2 do
    local counted = tonumber(counts[at])
    if not counted or counted < slot - slots or counted > slot then
      redis.call('HDEL', key, counts[at])
    else
      used, oldest = used + counts[at + 1], math.min(oldest, counted)
    end
  end
  local admitted = math.max(0, math.min(tonumber(ARGV[3 + index]), limit - used))
  if admitted > 0 then
    redis.call('HINCRBY', key, string.format('%d', slot), admitted)
    redis.call('PEXPIRE', key, math.ceil((slots + 1) * width / 1000))
  end
  answer[index] = string.format('%d %d', admitted, (oldest + slots + 1) * width - now)
end
return table.concat(answer, ' ')
"""


class RateLimit:
    """Admits ``requests`` of each sender in any ``seconds``, and everything while Redis is away."""

    def __init__(self, redis: RedisClient, requests: int, seconds: int) -> None:
        self._redis = redis
        self._requests = requests
        self._seconds = seconds
        self._limiting = True

    async def open(self) -> None:
        """Connect to Redis. Raises nothing: the service works without Redis, but limits nobody."""
        try:
            await self._redis.open()
        except RedisUnavailable as error:
            self._note(error)

    async def close(self) -> None:
        await self._redis.close()

    def limited(self, apply: Apply, reject: Callable[[Delivery, Problem], Received[Operation]]) -> Apply:
        """Return an ``apply`` that rejects the requests over the limit first.

        A write that was served before is answered with its outcome all the same: a rejected one still has its key.
        """

        async def apply_within_limit(requests: RequestBatch) -> AsyncIterator[Outcomes]:
            positions = list(requests.valid)
            waits = await self.admit([requests.unsettled[position].sender for position in positions])
            requests.timer.end("limited")
            for position, seconds in zip(positions, waits, strict=True):
                if seconds is not None:
                    problem = RateLimited.until(seconds)
                    requests.unsettled[position] = reject(requests.unsettled[position].delivery, problem)
            async for outcomes in apply(requests):
                yield outcomes

        return apply_within_limit

    async def admit(self, senders: Sequence[str]) -> list[float | None]:
        """Return for the sender of each request None where it is admitted, else the seconds until it may be.

        This is one round trip, and none where there are no senders.
        """
        asked = Counter(senders)
        try:
            answer = await self._count(asked) if asked else []
        except RedisUnavailable as error:
            self._note(error)
            metrics.UNLIMITED.inc(len(senders))
            return [None] * len(senders)
        if asked:
            self._note(None)
        return list(_each(senders, dict(zip(asked, answer, strict=True))))

    async def _count(self, asked: Counter[str]) -> list[tuple[int, int]]:
        keys = [f"limit:{self._seconds}:{sender}" for sender in asked]  # two versions may have other slots
        width = self._seconds * MICROSECONDS // SLOTS
        answer = await self._redis.run(_COUNT, keys, [self._requests, width, SLOTS, *asked.values()])
        numbers = iter(map(int, answer.split()))
        return list(zip(numbers, numbers, strict=True))

    def _note(self, error: RedisUnavailable | None) -> None:
        """Log once that Redis is unavailable, and once that it is available again."""
        if error and self._limiting:
            log.warning("senders are not limited until Redis answers: %s", error)
        if not error and not self._limiting:
            log.info("senders are limited again: %s answers", self._redis.place)
        self._limiting = error is None


def _each(senders: Sequence[str], answer: Mapping[str, tuple[int, int]]) -> Iterator[float | None]:
    """Admit the first requests of each sender."""
    seen = Counter[str]()
    for sender in senders:
        admitted, wait = answer[sender]
        seen[sender] += 1
        yield None if seen[sender] <= admitted else math.ceil(wait / 1000) / 1000  # rounded up to milliseconds
