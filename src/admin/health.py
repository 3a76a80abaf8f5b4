"""Health checks: whether the process lives, for what restarts it, and whether it can serve."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiormq.channel import Channel

from src.admin.single_flight import SingleFlight
from src.amqp.batch_subscriber import BatchSubscriber
from src.amqp.connections import close_channel
from src.database import Database
from src.dialects.driver_errors import describe
from src.errors import Unavailable
from src.schema import FOREIGN, Revision

OK = "ok"
MAX_AGE = 1  # seconds: how long a result is kept, so that frequent health checks load no server
TIMEOUT = 2  # seconds: how long a health check waits for a server

type Parts = dict[str, str]
"""For each part ``OK``, or what is wrong with it."""


class Health:
    """``open_channel`` opens a channel on a publishing connection: an alarm of the broker blocks that one."""

    def __init__(
        self,
        database: Database,
        open_channel: Callable[[], Awaitable[Channel]],
        subscribers: Sequence[BatchSubscriber],
    ) -> None:
        self._database = database
        self._open_channel = open_channel
        self._subscribers = subscribers
        checks = {"database": database.probe, "schema": self._check_schema, "broker": self._check_broker}
        self._checks = {name: SingleFlight(each, max_age=MAX_AGE, timeout=TIMEOUT) for name, each in checks.items()}

    def live(self) -> Parts:
        """Check the loop of each subscriber, but no server: a restart of the process would end no outage."""
        return {each.queue.name: OK if each.lives else "its loop has ended" for each in self._subscribers}

    async def ready(self) -> Parts:
        """Check whether requests can be served. A replica that is the standby of another is ready as well."""
        servers = await asyncio.gather(*map(_describe, self._checks.values()))
        consumed = {
            each.queue.name: OK if each.consuming.is_set() else "not consumed by this process"
            for each in self._subscribers
        }
        return dict(zip(self._checks, servers, strict=True)) | consumed

    async def _check_schema(self) -> None:
        match await self._database.revision():
            case Revision.BEHIND:
                raise Unavailable("behind this version")
            case Revision.FOREIGN:
                raise Unavailable(FOREIGN)
            case Revision.CURRENT | Revision.AHEAD:
                pass

    async def _check_broker(self) -> None:
        await close_channel(await self._open_channel())


async def _describe(check: SingleFlight[None]) -> str:
    try:
        await check.result()
    except Exception as error:  # any error means that the part does not work
        return describe(error)
    return OK
