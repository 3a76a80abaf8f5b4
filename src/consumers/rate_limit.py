"""So many requests of each sender in so many seconds, together of all replicas: a sliding window, counted in Redis.

The window moves in slots of a twentieth. Those that it touches, the running one and twenty before, hold no more than
the limit together: so no stretch of that many seconds does, wherever it begins. Time is Redis' own.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from src.redis_client import RedisClient, RedisUnavailable
from src.telemetry import metrics

log = logging.getLogger(__name__)

SLOTS = 20
MICROSECONDS = 1_000_000

# KEYS: senders. ARGV: the limit, the microseconds of a slot, the number of slots, then the requests of each sender.
# Answers of each sender how many are admitted, and the microseconds until others may be: one text, read at once.
# What another has written under a sender's key gives way: the others of the batch would not be limited for it.
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

    def __init__(self, cache: RedisClient, requests: int, seconds: int) -> None:
        self._cache = cache
        self._requests = requests
        self._seconds = seconds
        self._counts = True

    async def open(self) -> None:
        """Raises nothing: without Redis nothing is missing but the limit."""
        try:
            await self._cache.open()
        except RedisUnavailable as error:
            self._note(error)

    async def close(self) -> None:
        await self._cache.close()

    async def admit(self, senders: Sequence[str]) -> list[float | None]:
        """Of the sender of each request: None where it is admitted, else the seconds after which to come back.

        One round trip, and none where there are no senders.
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
        answer = await self._cache.run(_COUNT, keys, [self._requests, width, SLOTS, *asked.values()])
        numbers = iter(map(int, answer.split()))
        return list(zip(numbers, numbers, strict=True))

    def _note(self, away: RedisUnavailable | None) -> None:
        """Say once when the limit goes, and once when it is back."""
        if away and self._counts:
            log.warning("senders are not limited until Redis answers: %s", away)
        if not away and not self._counts:
            log.info("senders are limited again: %s answers", self._cache.place)
        self._counts = away is None


def _each(senders: Sequence[str], answer: Mapping[str, tuple[int, int]]) -> Iterator[float | None]:
    """The first ones of each sender are admitted."""
    seen = Counter[str]()
    for sender in senders:
        admitted, wait = answer[sender]
        seen[sender] += 1
        yield None if seen[sender] <= admitted else math.ceil(wait / 1000) / 1000
