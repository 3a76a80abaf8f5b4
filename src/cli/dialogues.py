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

from src.cli.ending import NO_WAY, end

_NAMESPACE = uuid.UUID("0d5a9f6e-52a1-5a5c-8f0a-6a3f2b7f2a11")

type Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Dialogue:
    """Its requests, and what all their ids derive from: the line of the file that it is."""

    name: str
    origin: uuid.UUID
    steps: list[Step]


def read(file: Path) -> list[Dialogue]:
    """The file's dialogues. Ends the program with one line where it holds something else."""
    try:
        return list(_read(file))
    except (OSError, EOFError, ValueError) as error:
        end(f"{file} is no file of dialogues: {error}", NO_WAY)


def _read(file: Path) -> Iterator[Dialogue]:
    with ExitStack() as stack:
        raw = stack.enter_context(file.open("rb"))
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        for number, line in enumerate(stack.enter_context(gzip.open(raw)) if packed else raw, start=1):
            said = _checked(json.loads(line), number)
            origin = uuid.uuid5(_NAMESPACE, hashlib.sha256(line).hexdigest())
            yield Dialogue(said["dialogue_id"], origin, list(_steps(said, origin)))


def _checked(dialogue: Any, number: int) -> dict[str, Any]:
    if isinstance(dialogue, dict) and isinstance(dialogue.get("dialogue_id"), str):
        turns = dialogue.get("turns")
        if isinstance(turns, list) and all(
            isinstance(turn, dict) and isinstance(turn.get("utterance"), str) for turn in turns
        ):
            return dialogue
    raise ValueError(f"line {number} has no dialogue_id, or turns without an utterance")


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
