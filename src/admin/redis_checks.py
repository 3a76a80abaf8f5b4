"""Checks of Redis, where there is one."""

from src.admin.findings import Finding, ok, warning
from src.redis_client import RedisClient, RedisUnavailable

OLDEST_VERSION = 5  # in which a script may read the time and then write


async def check(redis: RedisClient, *, limits: bool) -> Finding:
    """Return the finding. ``limits`` says whether there is a RATE_LIMIT, the only use of Redis."""
    try:
        await redis.open()
        version = await redis.version()
    except RedisUnavailable as error:
        return warning(f"{error}; no sender is limited meanwhile", "Start it, or correct REDIS_URL")
    finally:
        await redis.close()
    what = f"{redis.place}, version {version},"
    if int(version.partition(".")[0]) < OLDEST_VERSION:
        return warning(f"{what} is too old", f"Run {OLDEST_VERSION} or newer")
    return ok(f"{what} lets us in" if limits else f"{what} lets us in, and is of no use without RATE_LIMIT")
