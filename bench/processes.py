"""A program in a process of its own: a line in, a line out."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.scene import Failed
from bench.stopwatch import Job, Measure

ROOT = Path(__file__).resolve().parent.parent
LAST_WORDS = 2000  # characters of a failed program's stderr


@asynccontextmanager
async def started(*command: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is killed if it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(process: asyncio.subprocess.Process, job: Job) -> Measure:
    """What the program measured. Raises Failed."""
    out, err = await process.communicate(job.line())
    if process.returncode:
        raise Failed(f"ended with {process.returncode}:\n{err.decode()[-LAST_WORDS:]}")
    return Measure(**json.loads(out.splitlines()[-1]))
