"""What requests leave: rows and messages."""

from typing import Any

import config
from src.models.session import Session
from tests.support import harness
from tests.support.requester import Collected, Message, Requester


async def sessions(settings: config.Settings) -> list[tuple[Any, ...]]:
    return await harness.rows(settings.dsn, Session)


async def no_more(db: Requester, collected: Collected) -> list[Message]:
    """What has come, up to what comes of a request made now."""
    await db.ask("user.create", {"username": "the end"})
    return (await collected.until(b"the end"))[:-1]
