"""What the figures depend on."""

import os
import platform
import subprocess
from importlib import metadata
from typing import Any

import aiormq
import asyncpg

from bench.program import Servers

PACKAGES = ("aio-pika", "aiormq", "asyncpg", "faststream", "pydantic", "sqlalchemy", "uvloop")


async def described(servers: Servers) -> dict[str, Any]:
    """The machine, both servers, and the versions of what is measured."""
    amqp, rows = await aiormq.connect(servers.rabbitmq_url), await asyncpg.connect(servers.database_url)
    try:
        postgresql, rabbitmq = await rows.fetchval("SHOW server_version"), amqp.server_properties["version"]
    finally:
        await rows.close()
        await amqp.close()
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "node": _said("node", "--version").removeprefix("v") or None,
        "go": _said("go", "env", "GOVERSION").removeprefix("go") or None,
        "postgresql": postgresql,
        "rabbitmq": rabbitmq.decode() if isinstance(rabbitmq, bytes) else rabbitmq,
        **{package: metadata.version(package) for package in PACKAGES},
    }


def _said(*command: str) -> str:
    """What a command prints; nothing where there is no such command."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - of ours
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked.stdout.strip()
