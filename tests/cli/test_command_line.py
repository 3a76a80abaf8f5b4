"""The command line as its users see it: each test runs ``main.py``, most against the service in this process."""

import asyncio
import json
import re
import signal
import sys
import tomllib
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import aio_pika
import pytest
from typer.testing import CliRunner
from yarl import URL

import config
import main
from src import errors
from src.client import Client
from src.service import Service
from tests.support import harness


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int | None
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it complained of: a traceback has many."""
        return self.err.splitlines()


@asynccontextmanager
async def started(
    settings: config.Settings, *command: str, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "main.py", *command),
        cwd=harness.ROOT,
        env=harness.environment(settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(harness.DEADLINE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(settings: config.Settings, *command: str, text: str = "", stdout: int = asyncio.subprocess.PIPE) -> Ended:
    async with started(settings, *command, stdout=stdout) as process:
        out, err = await process.communicate(text.encode())
        return Ended(process.returncode, (out or b"").decode(), err.decode())


@pytest.fixture
def alone(rabbitmq_url: str) -> config.Settings:
    """Settings of a service that has never been started."""
    return config.load(_env_file=None, rabbitmq_url=rabbitmq_url, service_name=f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def full_disk() -> Iterator[int]:
    with Path("/dev/full").open("wb") as file:
        yield file.fileno()


def url(settings: config.Settings) -> str:
    return settings.rabbitmq_url.get_secret_value()


def elsewhere(settings: config.Settings, url: URL) -> config.Settings:
    return config.load(_env_file=None, rabbitmq_url=str(url), service_name=settings.service_name)


DEAD = ["dead list", "dead show", "dead replay", "dead drop"]
ASKING = ["call", "send", "watch", "operations", "play", "demo", "doctor", *DEAD]


@pytest.mark.parametrize("command", ["", *ASKING, "dead", "serve", "migrate"])
def test_each_command_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(main.app, [*command.split(), "--help"])
    assert shown.exit_code == 0, shown.output
    assert not re.search(r"^  .*\.\.\.$", shown.output, re.MULTILINE)  # a summary that is cut off
    assert "\\b" not in shown.output  # it is for Typer: the lines after it are not to be wrapped
    if command in ASKING:
        assert f"\n  ./db {command}" in shown.output


async def test_the_version_is_that_of_the_project(alone: config.Settings) -> None:
    project = tomllib.loads((harness.ROOT / "pyproject.toml").read_text())["project"]
    assert (await run(alone, "--version")).out == f"{project['version']}\n"


async def test_a_wrong_argument_is_told_under_the_name_that_was_typed(alone: config.Settings) -> None:
    ended = await run(alone, "call")
    assert (ended.code, ended.lines[0]) == (2, "Usage: ./db call [OPTIONS] {operation} [body]")


def test_an_error_that_says_nothing_is_said_in_words() -> None:
    assert errors.why(TimeoutError()) == "no answer in time"
    assert errors.why(OSError("no way\nat all")) == "no way"
    assert errors.why(ConnectionResetError()) == "ConnectionResetError"


@pytest.mark.parametrize("command", [("--help",), ("call", "--help"), ("--version",)])
async def test_help_that_cannot_be_written_is_one_line_and_exit_code_1(
    alone: config.Settings, full_disk: int, command: tuple[str, ...]
) -> None:
    ended = await run(alone, *command, stdout=full_disk)
    assert (ended.code, ended.lines) == (1, ["the output cannot be written: No space left on device"])


@pytest.mark.parametrize("command", ["call", "send"])
@pytest.mark.parametrize("body", ['{"username": ada}', "[1]", '"ada"', ""])
def test_a_body_that_is_no_json_object_is_one_line_and_exit_code_2(
    alone: config.Settings, command: str, body: str
) -> None:
    ended = CliRunner().invoke(main.app, [command, "user.create", "-"], input=body, env=harness.environment(alone))
    assert (ended.exit_code, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert ended.stderr.startswith("BODY is ")


@pytest.mark.parametrize("command", [("call", "user.count"), ("send", "user.create"), ("watch",)])
async def test_a_service_that_was_never_started_is_one_line_and_exit_code_2(
    alone: config.Settings, command: tuple[str, ...]
) -> None:
    ended = await run(alone, *command)
    assert (ended.code, ended.out) == (2, "")
    assert ended.lines == [f"no service named '{alone.service_name}' has been started on this broker"]


async def test_to_call_a_service_that_does_not_run_is_one_line_at_once(settings: config.Settings) -> None:
    async with harness.running(settings):
        pass
    ended = await run(settings, "call", "user.create", '{"username": "ada"}')
    assert (ended.code, ended.out) == (2, "")
    assert ended.lines == [
        f"the service '{settings.service_name}' is not running; `send` leaves a request for when it does"
    ]
    assert await harness.depth(settings, harness.names(settings).partition(0)) == 0


async def test_a_broker_that_cannot_be_reached_is_one_line_and_exit_code_2(alone: config.Settings) -> None:
    ended = await run(elsewhere(alone, URL("amqp://guest:secret@127.0.0.1:1/")), "call", "user.count")
    assert (ended.code, ended.out, len(ended.lines)) == (2, "", 1)
    assert "RabbitMQ at 127.0.0.1:1 cannot be reached" in ended.err
    assert "secret" not in ended.err


async def test_a_login_that_is_refused_is_one_line_and_exit_code_2(alone: config.Settings, rabbitmq_url: str) -> None:
    ended = await run(elsewhere(alone, URL(rabbitmq_url).with_password("wrong")), "call", "user.count")
    assert (ended.code, ended.out, len(ended.lines)) == (2, "", 1)
    assert "refuses the login" in ended.err


async def test_a_virtual_host_that_is_not_there_is_one_line_and_exit_code_2(
    alone: config.Settings, rabbitmq_url: str
) -> None:
    ended = await run(elsewhere(alone, URL(rabbitmq_url).with_path("/nowhere")), "call", "user.count")
    assert (ended.code, ended.out, len(ended.lines)) == (2, "", 1)
    assert "vhost nowhere not found" in ended.err


async def test_no_answer_in_time_is_one_line_and_exit_code_1(alone: config.Settings) -> None:
    async with harness.channel(alone.rabbitmq_url.get_secret_value()) as channel:
        exchange = await channel.declare_exchange(harness.names(alone).requests, "topic")
        queue = await channel.declare_queue(harness.names(alone).reads, auto_delete=True)
        await queue.bind(exchange, "#")
        await queue.consume(mock.AsyncMock())  # it takes what is asked, and says nothing
        ended = await run(alone, "call", "user.count", "--id", "the-key", "--timeout", "0.1")
        await exchange.delete()
    assert (ended.code, ended.out, len(ended.lines)) == (1, "", 1)
    assert "user.count had no answer within 0.1 s" in ended.err
    assert "the-key" in ended.err


async def test_call_prints_the_answer(service: Service, settings: config.Settings) -> None:
    ended = await run(settings, "call", "user.create", '{"username": "ödön"}', "--id", "once", "--partition-key", "p")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["username"] == "ödön"
    assert "ödön" in ended.out
    assert "\x1b" not in ended.out
    again = await run(settings, "call", "user.create", "-", "--id", "once", text='{"username": "ödön"}')
    assert again == ended


async def test_call_prints_a_problem_and_ends_with_exit_code_1(service: Service, settings: config.Settings) -> None:
    ended = await run(settings, "call", "user.create", '{"username": 1}')
    assert (ended.code, ended.err) == (1, "")
    assert json.loads(ended.out)["type"] == "urn:db:problem:invalid"


@pytest.mark.parametrize("command", ["call", "send"])
async def test_a_disk_that_is_full_is_one_line_and_exit_code_1(
    service: Service, settings: config.Settings, full_disk: int, command: str
) -> None:
    ended = await run(settings, command, "user.count", stdout=full_disk)
    assert (ended.code, ended.lines) == (1, ["the output cannot be written: No space left on device"])


async def test_a_dry_run_is_answered_and_leaves_nothing(client: Client, settings: config.Settings) -> None:
    ended = await run(settings, "call", "user.create", '{"username": "ada"}', "--dry-run")
    assert (ended.code, json.loads(ended.out)["username"]) == (0, "ada")
    assert await client.call("user.count") == {"count": 0}


async def test_send_prints_the_message_id_of_what_is_applied_later(client: Client, settings: config.Settings) -> None:
    async with client.events("user.created") as events, asyncio.timeout(harness.DEADLINE):
        ended = await run(settings, "send", "user.create", '{"username": "ada"}')
        event = await anext(events)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{event.causation_id}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_watch_prints_a_line_an_event_until_it_is_told_to_end(
    client: Client, settings: config.Settings, number: signal.Signals
) -> None:
    async with started(settings, "watch", "user.*") as watching:
        assert watching.stdout
        assert watching.stderr
        assert b"Ctrl-C ends" in await watching.stderr.readline()
        user = await client.call("user.create", {"username": "ada"})
        line = (await watching.stdout.readline()).decode()
        assert "\x1b" not in line
        assert line.split()[1:] == ["user.created", user["id"], "v1"]
        watching.send_signal(number)
        out, err = await watching.communicate()
    assert (watching.returncode, out, err) == (0, b"", b"")


async def test_watch_prints_whole_events_as_json(client: Client, settings: config.Settings) -> None:
    async with started(settings, "watch", "--json") as watching:
        assert watching.stdout
        assert watching.stderr
        await watching.stderr.readline()
        user = await client.call("user.create", {"username": "ada"}, message_id="m")
        event = json.loads(await watching.stdout.readline())
    assert (event["name"], event["causation_id"], event["entity_version"]) == ("user.created", "m", 1)
    assert event["body"] == user


STEERING = "\x1b]0;ada\x07\x9b31m\u202e[/]\n"
"""What a terminal would obey, and rich."""


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_whatever_is_published_as_an_event_watch_goes_on_and_the_terminal_obeys_nobody(
    client: Client, settings: config.Settings, options: tuple[str, ...]
) -> None:
    async with started(settings, "watch", *options) as watching, harness.channel(url(settings)) as raw:
        assert watching.stdout
        assert watching.stderr
        await watching.stderr.readline()
        exchange = await raw.get_exchange(harness.names(settings).events)
        headers: Any = {"cloudEvents:time": STEERING, "entity-version": STEERING}
        for body in (b"no JSON", b"[1]", b"1" * 5000, json.dumps({"id": STEERING}, ensure_ascii=False).encode()):
            await exchange.publish(aio_pika.Message(body, headers=headers), f"session.{STEERING}")
        hostile = (await watching.stdout.readline()).decode().removesuffix("\n")
        user = await client.call("user.create", {"username": "ada"})
        assert user["id"] in (await watching.stdout.readline()).decode()
    assert hostile.isprintable()
    assert r"\u001b]0;ada\u0007\u009b31m\u202e[/]\n" in hostile


@pytest.mark.parametrize("title", ["\x7f\x9b31m\u202e\u2028\U000e0001", "ünïcode"])
async def test_an_answer_is_the_json_that_came_and_the_terminal_obeys_nobody(
    service: Service, settings: config.Settings, title: str
) -> None:
    ended = await run(settings, "call", "session.create", json.dumps({"title": title}))
    assert json.loads(ended.out)["title"] == title
    assert all(line.isprintable() for line in ended.out.split("\n"))
    assert (title in ended.out) == title.isprintable()


async def test_watch_ends_when_nobody_reads_it(client: Client, settings: config.Settings) -> None:
    async with started(settings, "watch") as watching:
        assert watching.stdout
        assert watching.stderr
        await watching.stderr.readline()
        watching.stdout._transport.close()  # type: ignore[attr-defined]
        await client.call("user.create", {"username": "ada"})
        assert await watching.wait() == 1
        assert await watching.stderr.read() == b""
