"""Lines of JSON have fields that are there to be relied upon, and tell nothing of what a request said."""

import json
import os
import subprocess
import sys
import uuid
from typing import Any

import pytest

import config
from src import __version__
from src.amqp import batch_subscriber
from src.telemetry import logs
from tests.faults.ending import stopped
from tests.support import harness, requester
from tests.support.harness import Process

SECRET = "payload-of-a-request"
TRACE = "0af7651916cd43dd8448eb211c80319c"
ALWAYS = {"timestamp", "level", "event", "logger", "service", "version"}
MISSING = str(uuid.UUID(int=1))


async def lines(settings: config.Settings, form: str) -> list[str]:
    """What a service says that consumes, has a dead letter, is sent what is no request, and stops."""
    async with Process(settings, LOG_FORMAT=form) as process, requester.asking(settings) as db:
        await process.consuming()
        more: Any = {"reply_to": None, "correlation_id": "of-the-letter"}
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        body = {"id": MISSING, "title": SECRET}
        await db.publish("session.update", body, "the-letter", headers, **more)
        await process.says("dead letter")
        await db.ask("session.create", {"status": SECRET, SECRET: SECRET})
        await stopped(process)
    return [line for line in process.log if line.strip()]


async def test_each_line_of_json_has_the_fields_that_are_promised_and_no_other(own_settings: config.Settings) -> None:
    said = [json.loads(line) for line in await lines(own_settings, "json")]
    assert len(said) >= 6
    for line in said:
        assert ALWAYS <= line.keys() <= ALWAYS | {*logs.TRAITS}
        assert (line["service"], line["version"]) == (own_settings.service_name, __version__)
    assert SECRET not in json.dumps(said)
    (consuming,) = [line for line in said if line["event"].endswith("writes.0: consuming")]
    assert consuming["partition"] == harness.names(own_settings).partition(0)
    assert consuming["logger"] == batch_subscriber.__name__


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_has_colours_where_nobody_minds(
    environment: dict[str, str],
    coloured: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    ours, its = os.openpty()
    program = (
        "import logging; from src.telemetry import logs; logs.configure('INFO', 'text', 'x'); logging.info('this')"
    )
    without = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    subprocess.run([sys.executable, "-c", program], cwd=harness.ROOT, env=without | environment, stderr=its, check=True)
    os.close(its)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert "this" in said
    assert ("\x1b[" in said) is coloured


async def test_a_line_about_a_request_says_which(own_settings: config.Settings) -> None:
    said = [json.loads(line) for line in await lines(own_settings, "json")]
    (letter,) = [line for line in said if line["event"].startswith("dead letter")]
    assert {name: letter[name] for name in logs.TRAITS if name in letter} == {
        "operation": "session.update",
        "message_id": "the-letter",
        "correlation_id": "of-the-letter",
        "trace_id": TRACE,
        "reason": "urn:db:problem:not-found",
    }


async def test_lines_of_text_tell_nothing_of_what_a_request_said(own_settings: config.Settings) -> None:
    said = "".join(await lines(own_settings, "text"))
    assert "dead letter" in said
    assert SECRET not in said
