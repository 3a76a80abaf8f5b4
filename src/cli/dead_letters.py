"""Lists, shows, replays and drops dead letters, for ``dead``."""

from collections.abc import Coroutine
from typing import Any

import typer

from src.cli.ending import NO_ANSWER, end
from src.cli.output import print_line
from src.cli.runner import run
from src.cli.target import Target
from src.dead_letters import queue


def list_all(to: Target, limit: int) -> None:
    """Print a line for each dead letter."""
    _run(to, _list(to, limit))


def show(to: Target, dead_letter_id: str) -> None:
    """Print all of one; end the program with exit code 1 where it is not there."""
    _run(to, _show(to, dead_letter_id))


def replay(to: Target, dead_letter_id: str) -> None:
    """Send one again, or all where none is named; end the program with exit code 1 where one was not sent."""
    if not _run(to, _replay(to, dead_letter_id)):
        raise typer.Exit(NO_ANSWER)


def drop(to: Target, dead_letter_id: str) -> None:
    """Drop one, or all where none is named; end the program with exit code 1 where it is not there."""
    _run(to, _drop(to, dead_letter_id))


def _run[T](to: Target, work: Coroutine[Any, Any, T]) -> T:
    try:
        return run(to, work)
    except queue.NoSuchDeadLetter as error:
        end(str(error), NO_ANSWER)


async def _list(to: Target, limit: int) -> None:
    shown = 0
    async with queue.opened(to.rabbitmq_url, to.service, limit) as opened:
        async for dead_letter in opened.dead_letters():
            print_line(dead_letter.line)
            shown += 1
    more = f" of {opened.count}; --limit shows more" if opened.count > shown else ""
    typer.echo(f"{shown} dead letters{more}", err=True)


async def _show(to: Target, dead_letter_id: str) -> None:
    async with queue.opened(to.rabbitmq_url, to.service) as opened:
        async for dead_letter in opened.chosen(dead_letter_id):
            for line in dead_letter.lines:
                print_line(line)


async def _replay(to: Target, dead_letter_id: str) -> bool:
    """Whether all were sent."""
    kept = 0
    async with queue.opened(to.rabbitmq_url, to.service) as opened:
        async for dead_letter in opened.chosen(dead_letter_id):
            try:
                message_id = await opened.replay(dead_letter, named=bool(dead_letter_id))
                print_line(f"{dead_letter.id}  replayed as {message_id}")
            except queue.NotReplayed as reason:
                print_line(f"{dead_letter.id}  not replayed: {reason}")
                kept += 1
    typer.echo(f"{opened.removed} replayed{f', {kept} not' if kept else ''}", err=True)
    return not kept


async def _drop(to: Target, dead_letter_id: str) -> None:
    async with queue.opened(to.rabbitmq_url, to.service) as opened:
        async for dead_letter in opened.chosen(dead_letter_id):
            await opened.remove(dead_letter)
    typer.echo(f"{opened.removed} dropped", err=True)
