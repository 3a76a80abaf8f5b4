"""Play a file of dialogues through a running service: real conversations, as fast as they are answered."""

import asyncio
import gzip
import hashlib
import json
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from src import wire
from src.cli import target
from src.cli.output import Output
from src.client import Client

File = Annotated[
    Path, typer.Argument(help="Dialogues, one JSON object a line; may be gzipped.", exists=True, dir_okay=False)
]
Concurrency = Annotated[int, typer.Option(help="Dialogues played at the same time.", min=1, max=5000)]
Repeat = Annotated[int, typer.Option(help="How often to play the file, each time with the same ids.", min=1)]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for each answer.", min=1)]

_NAMESPACE = uuid.UUID("0d5a9f6e-52a1-5a5c-8f0a-6a3f2b7f2a11")

type Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Dialogue:
    """Its requests, and what all their ids derive from: the line of the file that it is."""

    name: str
    origin: uuid.UUID
    steps: list[Step]


@dataclass
class Tally:
    """What became of the requests; ``digest`` is the same where every answer was the same."""

    total: int
    sent: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    answers: int = 0
    on_answer: Callable[[], None] = lambda: None

    @property
    def digest(self) -> str:
        return f"{self.answers:064x}"

    def note(self, message_id: str, operation: str, answer: bytes, problem: str | None, seconds: float) -> None:
        """One answer. Answers come in any order, so they are summed."""
        self.sent[operation] += 1
        self.seconds.append(seconds)
        said = hashlib.sha256(message_id.encode() + b"\0" + answer).digest()
        self.answers = (self.answers + int.from_bytes(said)) % 2**256
        if problem:
            self.failed[f"{operation}: {problem}"] += 1
        self.on_answer()


def play(
    context: typer.Context, file: File, *, concurrency: Concurrency = 200, repeat: Repeat = 1, timeout: Timeout = 600
) -> None:
    r"""Feed dialogues through the running service: users, sessions, queries with their answers, chats, messages.

    Every id comes from the file, so that to play it again changes nothing, and is answered the same. Exit code 1 where
    anything failed, or was answered otherwise the second time.

    \b
    uv run main.py play dialogues.jsonl.gz
    uv run main.py play dialogues.jsonl.gz --concurrency 50 --repeat 2
    """
    to = target.of(context)
    tallies = target.run(to, _play(to, dialogues(file), concurrency, repeat, timeout))
    same = len({tally.digest for tally in tallies}) == 1
    if len(tallies) > 1:
        Output().print("every answer was the same each time" if same else "ANSWERS DIFFER from one time to the next")
    if not same or any(tally.failed for tally in tallies):
        raise typer.Exit(target.NO_ANSWER)


def dialogues(file: Path) -> list[Dialogue]:
    """The file's dialogues. Ends the program with one line where it holds something else."""
    read: list[Dialogue] = []
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(file.open("rb"))
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            for number, line in enumerate(stack.enter_context(gzip.open(raw)) if packed else raw, start=1):
                said = _checked(json.loads(line), number)
                origin = uuid.uuid5(_NAMESPACE, hashlib.sha256(line).hexdigest())
                read.append(Dialogue(said["dialogue_id"], origin, list(steps(said, origin))))
    except (OSError, EOFError, ValueError) as error:
        target.end(f"{file} is no file of dialogues: {error}", target.NO_WAY)
    return read


def _checked(dialogue: Any, number: int) -> dict[str, Any]:
    if isinstance(dialogue, dict) and isinstance(dialogue.get("dialogue_id"), str):
        turns = dialogue.get("turns")
        if isinstance(turns, list) and all(
            isinstance(turn, dict) and isinstance(turn.get("utterance"), str) for turn in turns
        ):
            return dialogue
    raise ValueError(f"line {number} has no dialogue_id, or turns without an utterance")


def steps(dialogue: dict[str, Any], origin: uuid.UUID) -> Iterator[Step]:
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


async def _play(
    to: target.Target, played: Sequence[Dialogue], concurrency: int, repeat: int, timeout: float
) -> list[Tally]:
    tallies = []
    async with Client(to.rabbitmq_url, to.service, timeout=timeout) as db:
        for number in range(repeat):
            begun = time.monotonic()
            tally = Tally(sum(len(dialogue.steps) for dialogue in played))
            with _progress(f"{number + 1} of {repeat}" if repeat > 1 else "playing", tally):
                await _once(db, played, concurrency, tally)
            tallies.append(tally)
            _report(tally, time.monotonic() - begun)
    return tallies


async def _once(db: Client, played: Sequence[Dialogue], concurrency: int, tally: Tally) -> None:
    free = asyncio.Semaphore(concurrency)
    try:
        async with asyncio.TaskGroup() as group:
            for dialogue in played:
                group.create_task(_dialogue(db, dialogue, tally, free))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None  # of one cause: the broker is gone, or an answer does not come


async def _dialogue(db: Client, dialogue: Dialogue, tally: Tally, free: asyncio.Semaphore) -> None:
    async with free:
        for index, (operation, body) in enumerate(dialogue.steps):
            message_id, asked = str(uuid.uuid5(dialogue.origin, f"request {index}")), time.monotonic()
            reply = await db.request(operation, body, message_id=message_id, partition_key=dialogue.name)
            problem = reply.type if reply.content_type == wire.PROBLEM else None
            tally.note(message_id, operation, reply.body, problem, time.monotonic() - asked)


@contextmanager
def _progress(what: str, tally: Tally) -> Iterator[None]:
    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=tally.total)
        tally.on_answer = lambda: progress.advance(bar)
        yield


def _report(tally: Tally, seconds: float) -> None:
    out, count = Output(), len(tally.seconds)
    for operation, number in sorted(tally.sent.items()):
        out.print(f"{operation:<20} {number:>8}")
    failed = sum(tally.failed.values())
    out.print(f"{'answered':<20} {count:>8}    failed {failed}")
    for what, number in tally.failed.most_common(10):
        out.print(f"  {number} x {what}")
    cuts = statistics.quantiles(tally.seconds, n=100) if count > 1 else tally.seconds * 99
    if cuts:
        latency = ", ".join(f"p{percent} {cuts[percent - 1] * 1000:.0f} ms" for percent in (50, 90, 99))
        out.print(f"{count / seconds:.0f} answers/s; {latency}, longest {max(tally.seconds) * 1000:.0f} ms")
    out.print(f"answers {tally.digest[:16]}")
