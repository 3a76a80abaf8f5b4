"""Plays dialogues through the service, and reports what became of them."""

import asyncio
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from aio_pika.exceptions import ChannelPreconditionFailed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from src import wire
from src.cli.ending import FAILED
from src.cli.output import print_line
from src.cli.play import dialogues
from src.cli.play.dialogues import Dialogue
from src.cli.play.report import Report
from src.cli.runner import run
from src.cli.target import Target
from src.client import Client
from src.errors import why


def play(to: Target, file: Path, *, concurrency: int, repeat: int, timeout: float) -> None:
    """Play the file; end the program with exit code 1 where anything of it did not get through, or differed."""
    played, rejected = dialogues.read(file)
    reports = [Report(played, rejected) for _ in range(repeat)]
    run(to, _play(to, reports, concurrency, timeout))
    same = len({report.digest for report in reports}) == 1
    if len(reports) > 1:
        print_line("every answer was the same each time" if same else "ANSWERS DIFFER from one time to the next")
    if not same or rejected or any(report.failures for report in reports):
        raise typer.Exit(FAILED)


async def _play(to: Target, reports: Sequence[Report], concurrency: int, timeout: float) -> None:
    async with Client(to.rabbitmq_url, to.service, timeout=timeout) as db:
        for number, report in enumerate(reports, start=1):
            with _reported(f"{number} of {len(reports)}" if len(reports) > 1 else "playing", report):
                await _once(db, report, concurrency)


async def _once(db: Client, report: Report, concurrency: int) -> None:
    free = asyncio.Semaphore(concurrency)
    try:
        async with asyncio.TaskGroup() as group:
            for dialogue in report.dialogues:
                group.create_task(_dialogue(db, dialogue, report, free))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None  # of one cause: the broker is gone, or an answer does not come


async def _dialogue(db: Client, dialogue: Dialogue, report: Report, free: asyncio.Semaphore) -> None:
    async with free:
        for index, (operation, body) in enumerate(dialogue.steps):
            message_id, asked = str(uuid.uuid5(dialogue.origin, f"request {index}")), time.monotonic()
            try:
                reply = await db.request(operation, body, message_id=message_id, partition_key=dialogue.origin)
            except ChannelPreconditionFailed as error:
                report.fail(dialogue, operation, f"RabbitMQ refuses the message: {why(error)}")
                continue
            report.note(dialogue, message_id, operation, reply.body, time.monotonic() - asked)
            if reply.content_type == wire.PROBLEM:
                report.fail(dialogue, operation, reply.type)


@contextmanager
def _reported(what: str, report: Report) -> Iterator[None]:
    """Show the progress, and however it ends what became of all."""
    begun = time.monotonic()
    try:
        with _progress(what, report):
            yield
    finally:
        for line in report.lines(time.monotonic() - begun):
            print_line(line)


@contextmanager
def _progress(what: str, report: Report) -> Iterator[None]:
    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=report.total)
        report.on_answer = lambda: progress.advance(bar)
        yield
