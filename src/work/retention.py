"""Forgets, in the background and in small steps, what is past its retention."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from src.database import Database
from src.work import careful, inbox

log = logging.getLogger(__name__)

STEP = 1000  # rows a transaction
PAUSE = 60  # seconds between two rounds, where nothing is left


async def purge(database: Database, retention: timedelta) -> None:
    """Run until cancelled. A duplicate of a request that is older than ``retention`` is a new request."""
    while True:
        await _purged(database, "suspects", lambda session: careful.purge(session, retention))
        purged = await _purged(database, "the inbox", lambda session: inbox.purge(session, retention, STEP))
        if purged:
            log.info("forgot %d requests older than %s", purged, retention)
        if purged < STEP:
            await asyncio.sleep(PAUSE)


async def _purged(database: Database, what: str, purge: Callable[[AsyncSession], Awaitable[int]]) -> int:
    """How many rows went. Nobody watches the task, and it must go on whatever happens."""
    try:
        async with database.transaction() as session:
            return await purge(session)
    except Exception as error:  # see above
        log.warning("%s: not purged: %s", what, type(error).__name__)
        return 0
