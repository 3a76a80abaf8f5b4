"""A command pays for what it uses: neither help nor a request waits for the libraries of the service."""

import asyncio
import json
import re
import resource
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import config
from dev import ports
from tests.support import harness

HEAVY = {"sqlalchemy", "alembic", "faststream", "asyncpg", "prometheus_client", "starlette", "uvicorn", "redis"}
COMMANDS = ["call", "send", "watch", "play", "demo", "serve", "migrate", "dead", "dead list", "operations", "doctor"]
SHOW_HELP = """
import sys, main
for command in sys.argv[1:]:
    main.app([*command.split(), "--help"], standalone_mode=False)
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""
ROUNDS = 7
HELP_COSTS = 1.6
CALL_COSTS = 3.0
"""Of the CPU that it costs to import the client."""


async def imported(environment: Mapping[str, str], *command: str, until: str = "") -> set[str]:
    """Every package that ``main.py`` imports for the command, which is interrupted when it says ``until``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "main.py", *command),
        cwd=harness.ROOT,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    lines = []
    async with asyncio.timeout(harness.DEADLINE):
        async for line in process.stderr:
            lines.append(line.decode())
            if until and until in lines[-1]:
                process.send_signal(signal.SIGINT)
        assert await process.wait() == 0, "".join(lines[-20:])
    return {found[1] for line in lines if (found := re.match(r"import time:.*\| +(\w+)", line))}


def cpu(settings: config.Settings, *program: str) -> float:
    """The seconds of CPU, of user and system, that Python takes for the program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = harness.environment(settings)
    subprocess.run([sys.executable, *program], cwd=harness.ROOT, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dialogues.jsonl"
    path.write_text(json.dumps({"dialogue_id": "1", "turns": [{"speaker": "USER", "utterance": "hello"}]}))
    return path


def test_help_imports_nothing_of_the_service() -> None:
    """That of each command, one after the other."""
    program = [sys.executable, "-c", SHOW_HELP, "", *COMMANDS]
    ended = subprocess.run(program, cwd=harness.ROOT, check=True, capture_output=True, text=True)
    assert ended.stdout.count("Usage: ") == 1 + len(COMMANDS)
    found = set(ended.stderr.split())
    assert "typer" in found
    assert not found & {*HEAVY, "aio_pika", "config"}


async def test_a_request_imports_nothing_of_the_service(service: object, settings: config.Settings, file: Path) -> None:
    environment = harness.environment(settings)
    commands = [
        imported(environment, "call", "user.count"),
        imported(environment, "send", "user.create", '{"username": "ada"}'),
        imported(environment, "watch", until="Ctrl-C ends"),
        imported(environment, "play", str(file)),
        imported(environment, "dead", "list"),
    ]
    for found in await asyncio.gather(*commands):
        assert {"aio_pika", "config"} <= found
        assert not found & HEAVY


async def test_http_and_redis_are_imported_where_they_are_asked_for(
    own_settings: config.Settings, redis_url: str
) -> None:
    (port,) = ports.free(1)
    asked = {"HTTP_PORT": str(port)}, {"REDIS_URL": redis_url, "RATE_LIMIT": "100/s"}
    for chosen, expected in zip(({}, *asked), (set(), {"starlette"}, {"redis"}), strict=True):
        environment = harness.environment(own_settings, **chosen)
        found = await imported(environment, "serve", until="writes.0: consuming")
        assert "sqlalchemy" in found
        assert found & {"starlette", "redis"} == expected


@pytest.mark.slow
async def test_help_and_a_call_cost_little_more_than_the_client(service: object, settings: config.Settings) -> None:
    programs = (["-c", "import src.client"], ["main.py", "call", "--help"], ["main.py", "call", "user.count"])
    taken = [[await asyncio.to_thread(cpu, settings, *program) for program in programs] for _ in range(ROUNDS)]
    client, shown, called = (statistics.median(each) for each in zip(*taken, strict=True))
    assert shown <= HELP_COSTS * client, f"{shown:.3f} s of CPU for help, {client:.3f} s for the client"
    assert called <= CALL_COSTS * client, f"{called:.3f} s of CPU for a call, {client:.3f} s for the client"
