"""A file of dialogues, played: every row is that of the file, however often it is played, whatever dies on the way."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import config
from src.cli import dialogues
from tests import harness

DIALOGUES = 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Dialogues of three to six turns, the last of some unanswered."""
    path = tmp_path / "dialogues.jsonl"
    path.write_text("".join(json.dumps(_dialogue(number)) + "\n" for number in range(DIALOGUES)))
    return path


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


async def _play(settings: config.Settings, file: Path, *options: str) -> str:
    """What the command prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
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
    out, err = await process.communicate()
    assert process.returncode == 0, out.decode() + err.decode()
    return out.decode()


async def _rows(settings: config.Settings) -> dict[str, list[tuple[Any, ...]]]:
    url = settings.dsn
    asked = {
        "sessions": "SELECT title, status, metadata FROM sessions ORDER BY title",
        "queries": "SELECT s.title, q.text, q.status, q.response->>'text' FROM queries q JOIN sessions s"
        " ON s.id = q.session_id ORDER BY s.title, q.created_at",
        "messages": "SELECT c.metadata->>'dialogue_id', m.role, m.content, m.metadata FROM messages m JOIN chats c"
        " ON c.id = m.chat_id ORDER BY 1, m.created_at",
        "members": "SELECT count(*), count(DISTINCT chat_id) FROM chat_members",
        "versions": "SELECT sum(version) FROM queries",
    }
    return {name: await harness.fetch(url, statement) for name, statement in asked.items()}


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
            (
                dialogue["dialogue_id"],
                "closed",
                json.dumps({"services": ["Trains_1"], "dialogue_id": dialogue["dialogue_id"]}),
            )
            for dialogue in said
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
    return rows | {"messages": [(*row[:3], json.loads(row[3])["frames"]) for row in rows["messages"]]}


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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nonsense", "is no file of dialogues"),
        (b'{"turns": []}\n', "line 1 has no dialogue_id"),
        (b'{"dialogue_id": "1", "turns": [{"speaker": "USER"}]}', "or turns without an utterance"),
        (b"\x1f\x8bnot gzip", "is no file of dialogues"),
    ],
)
def test_a_file_of_something_else_is_one_clear_line(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(typer.Exit):
        dialogues.read(path)
    assert said in capsys.readouterr().err
