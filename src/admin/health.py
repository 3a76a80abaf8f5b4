"""Whether the process lives, and whether it can serve: for those that restart it, and those that send it requests."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiormq.channel import Channel

from src.admin.single_flight import SingleFlight
from src.amqp.batch_subscriber import BatchSubscriber
from src.amqp.connections import close_channel
from src.database import Database
from src.dialects.driver_errors import describe
from src.errors import Unavailable
from src.schema import Revision

OK = "ok"
KEEP = 1  # seconds that an answer is kept, so that who asks often loads nobody
PATIENCE = 2  # seconds

type Parts = dict[str, str]
"""``OK`` of each part that is well, and what is wrong of the others."""


class Health:
    """``open_channel`` opens one on a connection that publishes, which an alarm of the broker stops."""

    def __init__(
        self,
        database: Database,
        open_channel: Callable[[], Awaitable[Channel]],
        subscribers: Sequence[BatchSubscriber],
    ) -> None:
        self._database = database
        self._open_channel = open_channel
        self._subscribers = subscribers
        asked = {"database": database.probe, "schema": self._check_schema, "broker": self._make_round_trip}
        self._questions = {name: SingleFlight(ask, keep=KEEP, patience=PATIENCE) for name, ask in asked.items()}

    def live(self) -> Parts:
        """Whether each loop lives: neither database nor broker is asked, for an outage costs waiting, not restarts."""
        return {each.queue.name: OK if each.lives else "its loop has ended" for each in self._subscribers}

    async def ready(self) -> Parts:
        """Whether requests are served: a replica that is another's standby is ready as well."""
        said = await asyncio.gather(*map(_say, self._questions.values()))
        consumed = {each.queue.name: _consumed(each) for each in self._subscribers}
        return dict(zip(self._questions, said, strict=True)) | consumed

    async def _check_schema(self) -> None:
        if await self._database.revision() is Revision.BEHIND:
            raise Unavailable("behind this version")

    async def _make_round_trip(self) -> None:
        await close_channel(await self._open_channel())


async def _say(question: SingleFlight[None]) -> str:
    try:
        await question.answer()
    except Exception as error:  # whatever it is, the part is not well
        return describe(error)
    return OK


def _consumed(subscriber: BatchSubscriber) -> str:
    return OK if subscriber.consuming.is_set() else "not consumed by this process"
