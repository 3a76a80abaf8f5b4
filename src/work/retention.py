"""Forgets, in the background and in small steps, what is past its retention."""

import asyncio
import logging
from datetime import timedelta

from src.database import Database
from src.work import careful, inbox

log = logging.getLogger(__name__)

STEP = 1000  # rows a transaction
PAUSE = 60  # seconds between two rounds, where nothing is left


async def purge_inbox(database: Database, retention: timedelta) -> None:
    """Run until cancelled. A duplicate of a request that is older than ``retention`` is a new request."""
    while True:
        try:
            async with database.transaction() as session:
                await careful.purge(session, retention)
                purged = await inbox.purge(session, retention, STEP)
        except Exception as error:  # nobody watches this task, and it must go on whatever happens
            log.warning("the inbox was not purged: %s", type(error).__name__)
            purged = 0
        if purged:
            log.info("forgot %d requests older than %s", purged, retention)
        if purged < STEP:
            await asyncio.sleep(PAUSE)
