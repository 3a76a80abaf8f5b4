"""What the peers in other languages need before they run; each is built once, and left out where it cannot be."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench.processes import LAST_WORDS, ROOT

_NODE, _GO = ROOT / "bench/peers/node", ROOT / "bench/peers/go"
NODE = ("node", str(_NODE / "index.js"))
GO = (str(_GO / "build/peer"),)

GO_PACKAGES = ("golang-go", "golang-github-rabbitmq-amqp091-go-dev", "golang-github-jackc-pgx-v4-dev")  # Debian's
GOPATH = "/usr/share/gocode"  # where they put their sources


async def _node() -> str | None:
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        return "node and npm are not both here"
    if (_NODE / "node_modules/.package-lock.json").exists():
        return None
    return await _made(_NODE, npm, "ci", "--prefer-offline", "--no-audit", "--no-fund")


async def _go() -> str | None:
    go = shutil.which("go")
    if not go:
        return f"go is not here; Debian has it: apt-get install {' '.join(GO_PACKAGES)}"
    environment = {"GO111MODULE": "off", "GOPATH": GOPATH, "GOFLAGS": "", "CGO_ENABLED": "0"}
    return await _made(_GO, go, "build", "-o", GO[0], "main.go", environment=environment)


BUILDS: Mapping[str, Callable[[], Awaitable[str | None]]] = {"node": _node, "go": _go}
"""By the program's name; why it could not be built, or None."""


async def _made(folder: Path, *command: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Run the command there; what it said where it failed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=os.environ | (environment or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return f"{' '.join(command[:2])} failed: {said.decode()[-LAST_WORDS:]}" if process.returncode else None
