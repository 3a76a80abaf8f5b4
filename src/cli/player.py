"""Plays dialogues through the service, and reports what became of them."""

import asyncio
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from src import wire
from src.cli.dialogues import Dialogue
from src.cli.ending import NO_ANSWER
from src.cli.output import Output
from src.cli.runner import run
from src.cli.tally import Tally
from src.cli.target import Target
from src.client import Client


def play(to: Target, played: Sequence[Dialogue], *, concurrency: int, repeat: int, timeout: float) -> None:
    """Play them; end the program with exit code 1 where anything failed, or was answered otherwise another time."""
    tallies = run(to, _play(to, played, concurrency, repeat, timeout))
    same = len({tally.digest for tally in tallies}) == 1
    if len(tallies) > 1:
        Output().print("every answer was the same each time" if same else "ANSWERS DIFFER from one time to the next")
    if not same or any(tally.failed for tally in tallies):
        raise typer.Exit(NO_ANSWER)


async def _play(to: Target, played: Sequence[Dialogue], concurrency: int, repeat: int, timeout: float) -> list[Tally]:
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
    out = Output()
    for line in tally.lines(seconds):
        out.print(line)
