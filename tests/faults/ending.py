"""How a process ends that is told to."""

import asyncio
import signal

import config
from tests.support.harness import Process

GRACE = config.Settings.model_fields["graceful_timeout"].default


async def stopped(process: Process) -> None:
    """Told to stop, it ends in order, and long before its grace does."""
    process.signal(signal.SIGTERM)
    async with asyncio.timeout(GRACE / 2):
        assert await process.wait() == 0
