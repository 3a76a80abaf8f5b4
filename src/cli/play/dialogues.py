"""Dialogues in a file, and the requests that each of them is."""

import gzip
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic_core

from src.cli.ending import NOT_POSSIBLE, end

LONGEST_NAME = 80  # characters that are shown of one
_NAMESPACE = uuid.UUID("0d5a9f6e-52a1-5a5c-8f0a-6a3f2b7f2a11")

type Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Dialogue:
    """Its requests, and what all their ids derive from: the line of the file that it is."""

    line: int
    name: str
    origin: uuid.UUID
    steps: list[Step]


@dataclass(frozen=True)
class Rejected:
    """A line that is no dialogue which could be played, and why."""

    line: int
    name: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}{self.name and ', '}{self.name}: refused: it {self.why}"


def read(file: Path) -> tuple[list[Dialogue], list[Rejected]]:
    """The file's dialogues, and its lines that are none. Ends the program with one line where it has no dialogue."""
    try:
        read = [_dialogue(line, number) for number, line in _lines(file)]
    except (OSError, EOFError) as error:
        end(f"{file} cannot be read: {error}", NOT_POSSIBLE)
    played = [each for each in read if isinstance(each, Dialogue)]
    rejected = [each for each in read if isinstance(each, Rejected)]
    if not played:
        why = f"; {rejected[0]}" if rejected else ""
        end(f"{file} holds no dialogue{why}", NOT_POSSIBLE)
    return played, rejected


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Each line that is not empty, with its number."""
    with ExitStack() as stack:
        raw = stack.enter_context(file.open("rb"))
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        for number, line in enumerate(stack.enter_context(gzip.open(raw)) if packed else raw, start=1):
            if line.strip():
                yield number, line


def _dialogue(line: bytes, number: int) -> Dialogue | Rejected:
    """Whatever a line holds, it ends none but itself."""
    name, origin = "", uuid.uuid5(_NAMESPACE, hashlib.sha256(line).hexdigest())
    try:
        said = json.loads(line.decode("utf-8-sig").strip())
        name = _name(said)
        steps = list(_steps(_checked(said), origin))
        for _, body in steps:
            pydantic_core.to_json(body)
    except json.JSONDecodeError as error:
        return Rejected(number, name, f"is no JSON from column {error.colno} on: {error.msg}")
    except UnicodeError:
        return Rejected(number, name, "holds what is no UTF-8")
    except (RecursionError, pydantic_core.PydanticSerializationError) as error:
        half = "surrogates not allowed" in str(error)
        return Rejected(number, name, "holds half of a surrogate pair" if half else "is nested too deep")
    except ValueError as error:
        return Rejected(number, name, str(error).partition("\n")[0])
    return Dialogue(number, name, origin, steps)


def _name(said: Any) -> str:
    """As it can be printed: a lone half of a surrogate pair cannot, and nobody would read a long one."""
    name = said.get("dialogue_id") if isinstance(said, dict) else None
    if not isinstance(name, str):
        return ""
    return name[:LONGEST_NAME].encode(errors="backslashreplace").decode() + "…" * (len(name) > LONGEST_NAME)


def _checked(dialogue: Any) -> dict[str, Any]:
    if isinstance(dialogue, dict) and isinstance(dialogue.get("dialogue_id"), str):
        turns = dialogue.get("turns")
        if isinstance(turns, list) and all(
            isinstance(turn, dict) and isinstance(turn.get("utterance"), str) for turn in turns
        ):
            return dialogue
    raise ValueError("has no dialogue_id, or turns without an utterance")


def _steps(dialogue: dict[str, Any], origin: uuid.UUID) -> Iterator[Step]:
    """The requests that make up a dialogue, in their order; their ids derive from ``origin``.

    A dialogue is a session and a chat of one user, every turn is a message, and a turn of the user with the turn of the
    system that follows is a query and its answer.
    """
    user, session, chat = (str(uuid.uuid5(origin, what)) for what in ("user", "session", "chat"))
    meta = {"dialogue_id": dialogue["dialogue_id"], "services": dialogue.get("services", [])}
    yield "user.create", {"id": user, "username": str(origin)}
    yield "session.create", {"id": session, "user_id": user, "title": dialogue["dialogue_id"], "metadata": meta}
    yield "chat.create", {"id": chat, "platform": "dialogues", "external_id": str(origin), "metadata": meta}
    yield "chat.add_members", {"id": chat, "user_ids": [user]}
    query = None
    for index, turn in enumerate(dialogue["turns"]):
        by = {"role": "user", "user_id": user} if turn.get("speaker") == "USER" else {"role": "assistant"}
        text, frames = turn["utterance"], {"frames": turn.get("frames", [])}
        message = str(uuid.uuid5(origin, f"message {index}"))
        yield "message.create", {"id": message, "chat_id": chat, "content": text, "metadata": frames, **by}
        if "user_id" in by:
            query = str(uuid.uuid5(origin, f"query {index}"))
            yield "query.create", {"id": query, "session_id": session, "text": text, "metadata": frames}
            yield "query.start", {"id": query}
        elif query:
            yield "query.complete", {"id": query, "response": {"text": text, **frames}}
            query = None
    yield "session.close", {"id": session}
