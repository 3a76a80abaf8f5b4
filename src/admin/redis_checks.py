"""Redis, where there is one: whether it lets us in, and what is missing where it does not."""

from src.admin.findings import Finding, ok, warning
from src.redis_client import RedisClient, RedisUnavailable

OLDEST = 5  # in which a script may look at the time and then write


async def look(cache: RedisClient, *, limits: bool) -> Finding:
    """The finding; ``limits`` says whether there is a RATE_LIMIT, all that Redis is for."""
    try:
        await cache.open()
        version = await cache.version()
    except RedisUnavailable as error:
        return warning(f"{error}; no sender is limited meanwhile", "Start it, or correct REDIS_URL")
    finally:
        await cache.close()
    what = f"{cache.place}, version {version},"
    if int(version.partition(".")[0]) < OLDEST:
        return warning(f"{what} is too old", f"Run {OLDEST} or newer")
    return ok(f"{what} lets us in" if limits else f"{what} lets us in, and is of no use without RATE_LIMIT")
