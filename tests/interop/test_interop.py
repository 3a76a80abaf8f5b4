"""A client in another library or language asks and is answered as ours is."""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import config
from dev import install
from src import wire
from src.client import Client
from src.errors import PREFIX
from tests.support import harness, pages

SOURCE, PUBLISH = pages.commands(pages.README, r"\. |amqp-publish")
PROGRAMS = Path(__file__).parent
NODE = PROGRAMS / "node"
LIBRARIES = ["amqplib", "pika", "kombu"]
GIVEN = {"title": "Grüße aus 東京, 🚂", "metadata": {"naïve": ["é", None, 1.5, {"\u2028": True}]}}


@dataclass(frozen=True)
class Answer:
    """What a client shows of an answer."""

    body: str
    type: str | None = None
    content_type: str | None = None
    correlation_id: str | None = None

    @property
    def properties(self) -> tuple[str | None, ...]:
        return self.type, self.content_type, self.correlation_id

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Asker:
    """A client's program, and the service that it asks. That of amqp-tools shows no more than an answer's body."""

    def __init__(self, program: Sequence[str], settings: config.Settings) -> None:
        self._program = program
        self._service = settings.rabbitmq_url.get_secret_value(), harness.names(settings).requests
        self._shows_properties = not program[0].endswith(".sh")

    async def ask(self, operation: str, body: object, correlation_id: str, message_id: str | None = None) -> Answer:
        request = operation, json.dumps(body, ensure_ascii=False), message_id or str(uuid.uuid4()), correlation_id
        printed = await _run(*self._program, *self._service, *request)
        return Answer(**json.loads(printed)) if self._shows_properties else Answer(printed)

    def expects(self, *properties: str) -> tuple[str | None, ...]:
        """What it should show of an answer that has these."""
        return properties if self._shows_properties else (None,) * len(properties)


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(harness.DEADLINE):
            printed, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, complaint.decode()
    return printed.decode()


@pytest.fixture(scope="session")
def amqplib() -> list[str]:
    """The program beside its package, which npm installs where it is not, or is not the one of the lock."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("amqplib needs node and npm, and one is missing")
    installed = NODE / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (NODE / "package-lock.json").stat().st_mtime:
        _install_amqplib(npm)
    return [node, str(NODE / "with_amqplib.js")]


def _install_amqplib(npm: str) -> None:
    quick = ("--prefer-offline", "--no-audit", "--no-fund", "--fetch-retries=1")
    clean = [npm, "ci", *quick, "--ignore-scripts", "--loglevel=error"]
    ended = subprocess.run(clean, cwd=NODE, capture_output=True, text=True, check=False)
    assert "EUSAGE" not in ended.stderr, ended.stderr  # the lock does not fit the package
    if ended.returncode:
        pytest.skip(f"npm could not install amqplib: {ended.stderr.partition('\n')[0]}")


@pytest.fixture(scope="session")
def pika() -> list[str]:
    return _python("pika")


@pytest.fixture(scope="session")
def kombu() -> list[str]:
    return _python("kombu")


def _python(library: str) -> list[str]:
    if not importlib.util.find_spec(library):
        pytest.skip(f"{library} is not installed")
    return [sys.executable, str(PROGRAMS / f"with_{library}.py")]


@pytest.fixture(scope="session")
def amqp_tools() -> list[str]:
    if not shutil.which("amqp-publish"):
        _install("amqp-tools")
    return [str(PROGRAMS / "with_amqp_tools.sh")]


def _install(package: str) -> None:
    apt = shutil.which("apt-get")
    if not apt or os.geteuid() != 0:
        pytest.skip(f"{package} is missing, and only root can install it, by apt-get")
    command = (apt, "install", "-y", package)
    if not (install._runs(*command) or (install._runs(apt, "update") and install._runs(*command))):
        pytest.skip(f"{package} is missing, and `apt-get install {package}` failed")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, settings: config.Settings, service: object) -> Asker:
    """A client that shows an answer's properties, beside the running service."""
    return Asker(request.getfixturevalue(request.param), settings)


@pytest.fixture(params=[*LIBRARIES, "amqp_tools"])
def asker(request: pytest.FixtureRequest, settings: config.Settings, service: object) -> Asker:
    """Any client, beside the running service."""
    return Asker(request.getfixturevalue(request.param), settings)


async def test_a_session_is_created_and_read_as_its_row(asker: Asker, database_url: str) -> None:
    made = await asker.ask("session.create", GIVEN, "Frage 1")
    read = await asker.ask("session.get", {"id": made.document["id"]}, "Frage 2")
    assert made.properties == asker.expects("session.create", wire.JSON, "Frage 1")
    assert read.properties == asker.expects("session.get", wire.JSON, "Frage 2")
    assert GIVEN.items() <= made.document.items()
    ((row,),) = await harness.fetch(database_url, "SELECT to_jsonb(sessions) FROM sessions")
    assert _moments(made.document) == _moments(read.document) == _moments(row)


async def test_a_problem_is_told_from_an_answer(asker: Asker) -> None:
    unknown, invalid = await asyncio.gather(
        asker.ask("session.paint", GIVEN, "Frage 1"),
        asker.ask("session.create", {"title": 1}, "Frage 2"),
    )
    assert unknown.properties == asker.expects(PREFIX + "unknown-operation", wire.PROBLEM, "Frage 1")
    assert invalid.properties == asker.expects(PREFIX + "invalid", wire.PROBLEM, "Frage 2")
    assert (unknown.document["type"], unknown.document["retryable"]) == (PREFIX + "unknown-operation", True)
    assert (invalid.document["type"], invalid.document["retryable"]) == (PREFIX + "invalid", False)
    assert [error["pointer"] for error in invalid.document["errors"]] == ["/title"]


async def test_the_same_message_id_gets_the_same_bytes(library: Asker, database_url: str) -> None:
    copies = [library.ask("session.create", GIVEN, f"copy {number}", "twice") for number in (1, 2)]
    first, second = await asyncio.gather(*copies)
    assert first.properties == library.expects("session.create", wire.JSON, "copy 1")
    assert second.properties == library.expects("session.create", wire.JSON, "copy 2")
    assert second.body == first.body
    assert await harness.fetch(database_url, "SELECT count(*) FROM sessions") == [(1,)]


async def test_the_first_request_from_the_command_line_works(
    amqp_tools: object, settings: config.Settings, client: Client, tmp_path: Path
) -> None:
    (tmp_path / ".servers").mkdir()
    (tmp_path / ".servers/urls").write_text(f"RABBITMQ_URL={settings.rabbitmq_url.get_secret_value()}\n")
    publish = PUBLISH.replace("db.requests", harness.names(settings).requests)
    async with client.events("session.created") as events:
        await _run("sh", "-c", f"cd {tmp_path}\n{SOURCE}\n{publish}")
        assert (await anext(aiter(events))).body["title"] == "hello"


def test_the_lock_of_the_node_client_names_no_place_to_get_it_from() -> None:
    assert "://" not in (NODE / "package-lock.json").read_text()


def _moments(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its times parsed: PostgreSQL and the service each write them in a form of their own."""
    return row | {name: value and datetime.fromisoformat(value) for name, value in row.items() if name.endswith("_at")}
