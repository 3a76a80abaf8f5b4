"""The service as it ships, without a stopwatch."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from bench import callers, processes, requests
from bench.program import Servers
from bench.scene import Failed, Scene

START_SECONDS = 60


@asynccontextmanager
async def serving(scene: Scene, servers: Servers) -> AsyncIterator[psutil.Process]:
    """The process of a service that was just started on this scene."""
    environment = {
        "DATABASE_URL": servers.database_url,
        "RABBITMQ_URL": servers.rabbitmq_url,
        "SERVICE_NAME": scene.service,
        "LOG_LEVEL": "ERROR",  # what nobody reads would fill the pipe
    }
    async with processes.started(sys.executable, "main.py", "serve", **environment) as process:
        yield psutil.Process(process.pid)
        process.terminate()
        await process.communicate()


async def answers(caller: callers.Caller) -> None:
    """Return when the service has answered a read. Raises Failed."""
    try:
        async with asyncio.timeout(START_SECONDS):
            await caller.call(next(requests.first_pages().requests()))
    except TimeoutError:
        raise Failed(f"no answer for {START_SECONDS} seconds") from None


def cpu_seconds(process: psutil.Process) -> float:
    """What it and those of its children that have ended have used so far; nothing where it has ended itself."""
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0
    return float(used.user + used.system + used.children_user + used.children_system)


def megabytes(process: psutil.Process) -> float:
    """Of memory that it holds."""
    return process.memory_info().rss / 1e6
