"""What is said of the operations is so: their examples are served, their problems come, the page is up to date."""

import json
import os
import re
import shlex
import subprocess
import sys
import uuid

import pytest
from typer.testing import CliRunner

import config
import main
from dev import reference as page
from src import errors, models, wire
from src.amqp.frames import Delivery, Properties
from src.base import Schema
from src.cli import operations
from src.consumers.decoder import Decoder
from src.contract import fields, problems, reference
from src.processing.request import RejectedRequest
from src.service import Service
from tests.hostile.test_meaning import MEANINGLESS
from tests.support import harness, requester

KNOWN = reference.describe(models.entities())
TEXT = page.PAGE.read_text()


def shown(*command: str) -> tuple[int, str]:
    ended = CliRunner().invoke(main.app, ["operations", *command])
    return ended.exit_code, ended.output


def test_the_page_is_what_the_source_says() -> None:
    assert page.PAGE.read_bytes() == page.page(), "docs/reference.md is not what the source says: run `make reference`"


@pytest.mark.parametrize("key", KNOWN)
def test_every_example_fits_its_schema(key: str) -> None:
    described = KNOWN[key]
    described.operation.request.model_validate_json(json.dumps(described.example))


@pytest.mark.parametrize("key", KNOWN)
def test_every_operation_says_what_it_does_and_is_shown(key: str) -> None:
    assert KNOWN[key].title.endswith(".")
    first, *_, last = operations._shown(KNOWN[key])
    assert first == f"{key}, a {KNOWN[key].kind}: {KNOWN[key].title}"
    command = shlex.split(last)
    assert (command[:3], json.loads(command[3])) == (["./db", "call", key], KNOWN[key].example)
    assert f"`{key}`" in TEXT


def test_one_operation_is_shown_with_all_that_is_said_of_it() -> None:
    code, text = shown("query.complete")
    assert code == 0
    for said in ("response", "JSON object", "required", "query.completed", "query.complete.failed", "not-found"):
        assert re.search(rf"^  .*\b{said}\b", text, re.MULTILINE), said


def test_the_list_has_a_line_for_each_operation() -> None:
    code, text = shown()
    assert (code, [line.split()[0] for line in text.splitlines()]) == (0, list(KNOWN))


def test_an_operation_that_is_not_there_is_one_line_with_the_nearest() -> None:
    assert shown("query.compleet") == (2, "there is no operation 'query.compleet'; nearest to it are query.complete\n")
    assert shown("\x1b") == (2, "there is no operation '\\x1b'\n")


def test_the_operations_are_shown_without_settings_and_without_a_connection() -> None:
    program = "import socket; socket.socket.connect = None; import main; main.app(['operations', 'user.create'])"
    wrong = {"DATABASE_URL": "nonsense", "RABBITMQ_URL": "nonsense", "PATH": os.environ["PATH"]}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=harness.ROOT, env=wrong, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "user.created" in ended.stdout


async def test_the_service_answers_each_example_as_it_is_said(service: Service, settings: config.Settings) -> None:
    async with requester.asking(settings) as db:
        answers = [await db.publish(key, described.example, str(uuid.uuid4())) for key, described in KNOWN.items()]
        for described, answer in zip(KNOWN.values(), await requester.finished(answers), strict=True):
            said = {problem.name() for problem in described.problems}
            assert answer.problem is None or answer.problem in said - {"invalid"}, (described.key, answer.document)


@pytest.mark.parametrize(("problem", "operation", "_"), MEANINGLESS.values(), ids=MEANINGLESS)
def test_a_problem_that_a_request_has_is_said_of_its_operation(problem: str, operation: str, _: object) -> None:
    if operation in KNOWN:
        assert problem in {each.name() for each in KNOWN[operation].problems}


@pytest.mark.parametrize(
    ("key", "own"),
    {
        "session.create": {"conflict", "foreign-key"},
        "session.update": {"not-found", "foreign-key", "version-mismatch"},
        "session.close": {"not-found", "illegal-transition", "version-mismatch"},
        "session.delete": {"not-found", "version-mismatch"},
        "session.list": set(),
        "user.create": {"conflict"},
        "user.update": {"not-found", "conflict", "version-mismatch"},
        "user.get_by_username": {"not-found"},
        "user.with_tasks": {"not-found"},
        "chat.add_members": {"not-found", "foreign-key", "version-mismatch"},
        "chat.remove_members": {"not-found", "version-mismatch"},
        "message.create": {"conflict", "foreign-key"},
        "message.search": set(),
    }.items(),
)
def test_an_operation_has_the_problems_of_its_kind_and_those_that_it_declares(key: str, own: set[str]) -> None:
    besides = {*problems.ALWAYS, *problems.WRITES}
    assert {each.name() for each in KNOWN[key].problems if each not in besides} == own
    assert set(problems.WRITES) <= set(KNOWN[key].problems) or KNOWN[key].kind == "read"


def test_every_problem_is_in_the_page() -> None:
    for kind in problems.known(models.entities()):
        assert f"| `{kind.name()}` | {kind.status} | {'yes' if kind.retryable else 'no'} |" in TEXT
    assert errors.Problem.__subclasses__()[0] in problems.known(models.entities())


class Everything(Schema):
    """A field of each type that can be said."""

    flag: bool
    ratio: float
    many: list[list[int]]
    nothing: None


def test_every_type_has_words_and_an_example() -> None:
    assert {field.name: (field.type, field.example) for field in fields.of(Everything)} == {
        "flag": ("boolean", True),
        "ratio": ("number", 1),
        "many": ("list, each list, each integer", [[1]]),
        "nothing": ("null", None),
    }


CONTENTS: list[tuple[str | None, str | None, bool]] = [
    *((content_type, None, True) for content_type in (None, *page.CONTENT_TYPES)),
    *((None, encoding, True) for encoding in page.ENCODINGS),
    ("text/plain", None, False),
    ("application/json; charset=latin-1", None, False),
    (None, "gzip", False),
]


@pytest.mark.parametrize(("content_type", "encoding", "passes"), CONTENTS)
def test_the_content_types_and_encodings_of_the_page_pass(
    content_type: str | None,
    encoding: str | None,
    passes: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    decoder = Decoder({"user.count": KNOWN["user.count"].operation}, 1024, require_message_id=False)
    properties = Properties(content_type=content_type, content_encoding=encoding)
    received = decoder.decode(Delivery(1, "user.count", properties, b"{}", 2))
    assert isinstance(received.request, RejectedRequest) is not passes


def _headers(section: str) -> set[str]:
    """The names in the first column of the table of headers there."""
    table = TEXT.partition(section)[2].partition("| header |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE))


async def test_an_event_and_a_refusal_have_the_headers_of_the_page(service: Service, settings: config.Settings) -> None:
    trace = {wire.TRACEPARENT: f"00-{'a' * 32}-{'b' * 16}-01"}
    async with (
        requester.asking(settings) as db,
        requester.listening(settings, harness.names(settings).events) as events,
    ):
        await db.ask("session.create", {}, "m", trace)
        await db.ask("session.close", {"id": str(uuid.uuid4())}, "n", trace)
        changed, refused = await events.take(2)
    assert set(changed.headers) == _headers("## Events")
    assert set(refused.headers) == _headers("## Events") - {wire.ENTITY_VERSION}
    assert (changed.content_type, refused.content_type) == (wire.JSON, wire.JSON)
    assert (refused.name, refused.document["type"]) == ("session.close.failed", "urn:db:problem:not-found")


async def test_the_pattern_of_the_page_catches_the_refusals_alone(service: Service, settings: config.Settings) -> None:
    exchange = harness.names(settings).events
    async with (
        requester.asking(settings) as db,
        harness.collected(settings, exchange, "#.failed") as every,
        harness.collected(settings, exchange, "*.*.failed") as refused,
    ):
        session = (await db.ask("session.create")).document["id"]
        query = (await db.ask("query.create", {"session_id": session, "text": "?"})).document["id"]
        for _ in range(2):
            await db.ask("query.fail", {"id": query, "error": "none"})

        async def both() -> bool:
            return len(every) == 2 and len(refused) == 1

        await harness.eventually(both, "two events, one of them a refusal")
    assert [message.routing_key for message in every] == ["query.failed", "query.fail.failed"]
    assert [message.routing_key for message in refused] == ["query.fail.failed"]
