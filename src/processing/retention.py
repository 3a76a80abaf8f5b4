"""Delete inbox rows and attempts that are older than the retention, in the background and in small steps."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from src.clock import now
from src.database import Database
from src.processing import attempts, inbox

log = logging.getLogger(__name__)

STEP = 1000  # rows deleted by one transaction
PURGE_INTERVAL = 60  # seconds: the pause between two rounds when nothing is left to purge


async def purge(database: Database, retention: timedelta) -> None:
    """Run until cancelled. A duplicate of a request that is older than ``retention`` is a new request."""
    while True:
        await _purged(database, "suspects", retention, attempts.purge)
        purged = await _purged(database, "the inbox", retention, partial(inbox.purge, limit=STEP))
        if purged:
            log.info("forgot %d requests older than %s", purged, retention)
        if purged < STEP:
            await asyncio.sleep(PURGE_INTERVAL)


async def _purged(
    database: Database, what: str, retention: timedelta, purge: Callable[[AsyncSession, datetime], Awaitable[int]]
) -> int:
    """Purge once and return the number of deleted rows. Raises nothing: no error may end the background task."""
    try:
        await database.probe()  # sets the clock: a wrong clock of this machine could empty the inbox
        async with database.session() as session:
            return await purge(session, now() - retention)
    except Exception as error:  # logged, and tried again after PURGE_INTERVAL
        log.warning("%s: not purged: %s", what, type(error).__name__)
        return 0
