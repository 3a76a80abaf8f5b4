"""Prints events as they happen, for ``watch``."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pydantic_core
import typer
from rich.text import Text

from src.cli.output import Output, print_line
from src.cli.printable import printable
from src.cli.runner import run
from src.cli.target import Target
from src.client import Client, Event


def watch(to: Target, pattern: str, *, as_json: bool) -> None:
    """Print each event whose name fits the pattern, until SIGINT or SIGTERM."""
    run(to, _watched(to, pattern, _print_as_json if as_json else _print_short))


async def _watched(to: Target, pattern: str, show: Callable[[Event], None]) -> None:
    """To be told to end is how this ends."""
    with suppress(asyncio.CancelledError):
        await _watch(to, pattern, show)


async def _watch(to: Target, pattern: str, show: Callable[[Event], None]) -> None:
    async with Client(to.rabbitmq_url, to.service) as db:
        while True:
            async with db.events(pattern) as events:
                typer.echo(f"watching {pattern} of {to.service}; Ctrl-C ends", err=True)
                try:
                    async for event in events:
                        show(event)
                except BrokenPipeError:  # whoever read our output has gone
                    raise
                except ConnectionError as error:
                    typer.echo(error, err=True)


def _print_as_json(event: Event) -> None:
    print_line(pydantic_core.to_json(event).decode())


def _print_short(event: Event) -> None:
    what = event.body.get("id") or event.body.get("detail") or ""
    version = "" if event.entity_version is None else f"v{event.entity_version}"
    time, name, rest = map(printable, (str(event.time or ""), event.name, f"{what}  {version}".rstrip()))
    Output().print(Text.assemble((time, "dim"), "  ", (f"{name:<24}", "bold"), f"  {rest}"), soft_wrap=True)
