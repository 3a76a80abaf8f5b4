"""A file of dialogues, played: every row is that of the file, however often it is played, whatever dies on the way."""

import asyncio
import gzip
import json
import re
import signal
import sys
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer

import config
from dev.rabbitmq import RabbitServer
from src.cli import ending
from src.cli.play import dialogues, report
from src.models.chat import Chat, Member
from src.models.message import Message
from src.models.query import Query
from src.models.session import Session
from tests.support import harness

DIALOGUES = 40
LARGEST_MESSAGE = 16 * 1024 * 1024  # bytes: the default of RabbitMQ 4, and set for the private one


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Dialogues of three to six turns, the last of some unanswered."""
    path = tmp_path / "dialogues.jsonl"
    path.write_text("".join(json.dumps(_dialogue(number)) + "\n" for number in range(DIALOGUES)))
    return path


def test_nothing_takes_longer_than_the_longest() -> None:
    line = report.Report([], seconds=[0.001, 0.002, 0.1])._latencies()
    *percentiles, longest = map(int, re.findall(r"(\d+) ms", line))
    assert max(percentiles) <= longest == 100


def _dialogue(number: int) -> dict[str, Any]:
    turns = [
        {
            "speaker": ("USER", "SYSTEM")[index % 2],
            "utterance": f"What {number} said as number {index}, ünïcode",
            "frames": [{"service": "Trains_1", "slots": [{"start": index, "exclusive_end": 9}]}],
        }
        for index in range(3 + number % 4)
    ]
    return {"dialogue_id": f"d_{number}", "services": ["Trains_1"], "turns": turns}


async def _play(settings: config.Settings, file: Path, *options: str, code: int = 0) -> str:
    """What the command prints; it must end with this code."""
    process = await _start(settings, file, *options)
    out, err = await process.communicate()
    assert process.returncode == code, out.decode() + err.decode()
    return out.decode()


async def _start(settings: config.Settings, file: Path, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "main.py",
        "play",
        str(file),
        *options,
        cwd=harness.ROOT,
        env=harness.environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _rows(settings: config.Settings) -> dict[str, list[tuple[Any, ...]]]:
    asked: dict[str, sa.Select[*tuple[Any, ...]]] = {
        "sessions": sa.select(Session.title, Session.status, Session.meta),
        "queries": sa.select(Session.title, Query.text, Query.status, Query.response)
        .join(Session, Session.id == Query.session_id)
        .order_by(Query.created_at),
        "messages": sa.select(Chat.meta, Message.role, Message.content, Message.meta)
        .join(Chat, Chat.id == Message.chat_id)
        .order_by(Message.created_at),
        "members": sa.select(sa.func.count(), sa.func.count(Member.chat_id.distinct())),
        "versions": sa.select(sa.func.sum(Query.version)),
    }
    return {name: await harness.fetch(settings.dsn, statement) for name, statement in asked.items()}


def _expected() -> dict[str, list[tuple[Any, ...]]]:
    said = sorted((_dialogue(number) for number in range(DIALOGUES)), key=lambda dialogue: dialogue["dialogue_id"])
    asked = [
        (dialogue["dialogue_id"], turn["utterance"], *_answer(dialogue["turns"], index))
        for dialogue in said
        for index, turn in enumerate(dialogue["turns"])
        if turn["speaker"] == "USER"
    ]
    return {
        "sessions": [
            (name, "closed", {"services": ["Trains_1"], "dialogue_id": name})
            for name in (dialogue["dialogue_id"] for dialogue in said)
        ],
        "queries": asked,
        "messages": [
            (
                dialogue["dialogue_id"],
                "user" if turn["speaker"] == "USER" else "assistant",
                turn["utterance"],
                turn["frames"],
            )
            for dialogue in said
            for turn in dialogue["turns"]
        ],
        "members": [(DIALOGUES, DIALOGUES)],
        "versions": [(sum(3 if status == "completed" else 2 for _, _, status, _ in asked),)],
    }


def _answer(turns: list[dict[str, Any]], index: int) -> tuple[str, str | None]:
    answered = index + 1 < len(turns)
    return ("completed", turns[index + 1]["utterance"]) if answered else ("in_progress", None)


def _parsed(rows: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """By dialogue, each in its order; of JSON what the file says."""
    queries = [(*row[:3], row[3] and row[3]["text"]) for row in rows["queries"]]
    messages = [(row[0]["dialogue_id"], *row[1:3], row[3]["frames"]) for row in rows["messages"]]
    found = {"sessions": rows["sessions"], "queries": queries, "messages": messages}
    return rows | {name: sorted(each, key=itemgetter(0)) for name, each in found.items()}


async def test_the_rows_are_those_of_the_file_and_playing_it_again_changes_nothing(
    service: object, settings: config.Settings, file: Path
) -> None:
    first = await _play(settings, file)
    rows = await _rows(settings)
    assert _parsed(rows) == _expected()
    assert "failed 0" in first
    again = await _play(settings, file, "--repeat", "2", "--concurrency", "7")
    assert await _rows(settings) == rows
    assert "every answer was the same each time" in again
    assert again.count(first.splitlines()[-1]) == 2  # the digest of all answers


async def test_the_rows_are_those_of_the_file_though_the_service_is_killed_three_times(
    settings: config.Settings, file: Path
) -> None:
    async with harness.running(settings):
        pass  # declares its queues: what is sent before the first start below is kept
    playing = asyncio.create_task(_play(settings, file, "--concurrency", "5"))
    events = harness.names(settings).events
    async with harness.collected(settings, events) as seen:
        for more in (100, 200, 300):
            async with harness.Process(settings) as process:
                await harness.eventually(lambda more=more: _reached(seen, more), f"{more} events")  # type: ignore[misc]
                process.kill()
    async with harness.running(settings):
        assert "failed 0" in await playing
        assert _parsed(await _rows(settings)) == _expected()


async def _reached(seen: list[Any], more: int) -> bool:
    return len(seen) >= more


def _nested(depth: int) -> bytes:
    return b'{"dialogue_id": "deep", "turns": [{"utterance": "", "frames": ' + b"[" * depth + b"]" * depth + b"}]}"


NO_DIALOGUES = {
    "no JSON": (b"nonsense", "line 2: refused: it is no JSON from column 1 on"),
    "cut off": (b'{"dialogue_id": "1", "turns": [', "line 2: refused: it is no JSON from column 32 on"),
    "no object": (b"[]", "line 2: refused: it has no dialogue_id"),
    "no name": (b'{"turns": []}', "line 2: refused: it has no dialogue_id"),
    "no words": (
        b'{"dialogue_id": "1", "turns": [{"speaker": "USER"}]}',
        "line 2, 1: refused: it has no dialogue_id, or",
    ),
    "half a pair": (
        b'{"dialogue_id": "\\ud800", "turns": []}',
        "line 2, \\ud800: refused: it holds half of a surrogate",
    ),
    "half a pair said": (
        b'{"dialogue_id": "1", "turns": [{"utterance": "\\ud800"}]}',
        "line 2, 1: refused: it holds half",
    ),
    "no UTF-8": (b"\xff\xfe", "line 2: refused: it holds what is no UTF-8"),
    "nested": (_nested(300), "line 2, deep: refused: it is nested too deep"),
    "nested far deeper": (_nested(200_000), "line 2: refused: it is nested too deep"),
}


@pytest.mark.parametrize("case", NO_DIALOGUES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_line_that_is_no_dialogue_is_refused_by_its_number_and_takes_no_other_along(
    case: str,
    packed: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    line, said = NO_DIALOGUES[case]
    content = b"\n" + line + b"\n\n" + json.dumps(_dialogue(7)).encode() + b"\n"
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    played, rejected = dialogues.read(path)
    assert [(dialogue.line, dialogue.name) for dialogue in played] == [(4, "d_7")]
    (one,) = map(str, rejected)
    assert one.startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no dialogue"),
        (b"\n \n", "holds no dialogue"),
        (b"nonsense", "holds no dialogue; line 1: refused: it is no JSON"),
        (b"\x1f\x8bnot gzip", "cannot be read"),
    ],
)
def test_a_file_without_a_dialogue_is_one_clear_line_and_exit_code_2(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(typer.Exit) as ended:
        dialogues.read(path)
    assert ended.value.exit_code == ending.NOT_POSSIBLE
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1


async def test_the_end_says_what_was_played_failed_and_refused_and_what_failed_first(
    service: object, settings: config.Settings, tmp_path: Path
) -> None:
    path, bad = tmp_path / "file", _dialogue(2)
    bad["turns"][1]["utterance"] = "NUL \0"
    path.write_text("\n".join(["nonsense", json.dumps(_dialogue(1)), json.dumps(bad)]))
    said = (await _play(settings, path, code=1)).splitlines()
    assert "dialogues: played 1, failed 1, refused 1" in said
    first = next(line for line in said if line.startswith("  line 3"))
    assert (
        first == "  line 3, d_2: failed: message.create: urn:db:problem:invalid, and after that 1 more of its requests"
    )
    assert "  line 1: refused: it is no JSON from column 1 on: Expecting value" in said


async def test_whatever_a_dialogue_is_called_the_others_are_played_and_the_terminal_obeys_nobody(
    service: object, settings: config.Settings, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    names = ["k" * 200_000, "\x9b31m\n\0", "n\0" + "m" * 200_000]
    named = [_dialogue(number) | {"dialogue_id": name} for number, name in enumerate(names)]
    path.write_text("\n".join(map(json.dumps, [*named, _dialogue(3)])))
    said = await _play(settings, path, code=1)
    assert "dialogues: played 2, failed 2, refused 0\n" in said
    assert rf"  line 3, n\u0000{'m' * (dialogues.LONGEST_NAME - 2)}…: failed: session.create" in said
    assert r"  line 2, \u009b31m\n\u0000: failed: session.create: urn:db:problem:invalid" in said
    assert all(line.isprintable() for line in said.split("\n"))


async def test_what_was_played_before_ctrl_c_is_told(settings: config.Settings, file: Path) -> None:
    async with harness.running(settings):
        pass  # its queues are there, and nobody answers
    process = await _start(settings, file)
    await harness.eventually(lambda: _queued(settings), "the requests are sent")
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == ending.STOPPED
    assert f"dialogues: played 0, failed 0, refused 0, not finished {DIALOGUES}" in out.decode()
    assert "Traceback" not in err.decode()


async def _queued(settings: config.Settings) -> bool:
    return await harness.depth(settings, harness.names(settings).partition(0)) > 0


async def test_a_message_that_is_too_large_for_the_broker_fails_its_dialogue_alone(
    postgres_url: str, template: str, private_rabbitmq: RabbitServer, tmp_path: Path
) -> None:
    file, said = tmp_path / "file", [_dialogue(number) for number in range(10)]
    for number in (3, 7):
        said[number]["turns"][1]["utterance"] = "x" * LARGEST_MESSAGE
    file.write_text("\n".join(map(json.dumps, said)))
    async with harness.isolated(postgres_url, template, private_rabbitmq.url) as settings, harness.running(settings):
        told = await _play(settings, file, code=1)
    assert "dialogues: played 8, failed 2, refused 0\n" in told
    why = "failed: message.create: RabbitMQ refuses the message: PRECONDITION_FAILED"
    for number in (3, 7):
        assert f"  line {number + 1}, d_{number}: {why}" in told
