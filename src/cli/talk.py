"""Talk to a running service: ``call``, ``send``, ``watch``."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Annotated, Any

import pydantic_core
import typer
from rich.markup import escape

from src import wire
from src.cli import target
from src.cli.output import Output
from src.client import Client, Event, Options, Reply

Operation = Annotated[str, typer.Argument(help="What is asked for: <entity>.<operation>.", show_default=False)]
Body = Annotated[str, typer.Argument(help="The request, a JSON object; - reads it from stdin.")]
MessageId = Annotated[
    str | None,
    typer.Option("--id", help="The idempotency key. What is asked again under the same one is applied once."),
]
PartitionKey = Annotated[str | None, typer.Option(help="Requests of one key are applied in the order they were sent.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait.", min=0.001)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Be answered as if it were done, and change nothing.")]
Pattern = Annotated[str, typer.Argument(help="Which events: * is one word of the name, # is any number.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print each whole event as a line of JSON.")]


def call(
    context: typer.Context,
    operation: Operation,
    body: Body = "{}",
    *,
    message_id: MessageId = None,
    partition_key: PartitionKey = None,
    timeout: Timeout = 30.0,
    dry_run: DryRun = False,
) -> None:
    r"""Ask the service something, and print its answer.

    Exit code 0: done. 1: the answer is a problem, or none came in time. 2: it could not be asked.

    \b
    uv run main.py call user.create '{"username": "ada"}'
    uv run main.py call query.list '{"where": {"status": "pending"}}'
    uv run main.py call user.get_by_username '{"username": "ada"}'
    """
    to, request = target.of(context), _parsed(body)
    options = Options(message_id=message_id, partition_key=partition_key, timeout=timeout, dry_run=dry_run)
    reply = target.run(to, _call(to, operation, request, options))
    Output().print_json(reply.body.decode(), ensure_ascii=False)
    if reply.content_type == wire.PROBLEM:
        raise typer.Exit(target.NO_ANSWER)


def send(
    context: typer.Context,
    operation: Operation,
    body: Body = "{}",
    *,
    message_id: MessageId = None,
    partition_key: PartitionKey = None,
    timeout: Timeout = 30.0,
) -> None:
    r"""Leave a request with the broker, wait for no answer, and print the request's message id.

    \b
    uv run main.py send session.create '{"title": "Trains"}'
    uv run main.py send user.create - --id ada < user.json
    """
    to, request = target.of(context), _parsed(body)
    options = Options(message_id=message_id, partition_key=partition_key, timeout=timeout)
    typer.echo(target.run(to, _send(to, operation, request, options)))


def watch(context: typer.Context, pattern: Pattern = "#", *, as_json: AsJson = False) -> None:
    r"""Print what happens, a line an event, until Ctrl-C.

    \b
    uv run main.py watch
    uv run main.py watch 'query.*'
    uv run main.py watch '*.created' --json
    """
    to = target.of(context)
    target.run(to, _until_told(_watch(to, pattern, _print_json if as_json else _print_line)))


def _parsed(body: str) -> dict[str, Any]:
    text = sys.stdin.read() if body == "-" else body
    try:
        request = pydantic_core.from_json(text)
    except ValueError as error:
        target.end(f"BODY is no JSON: {error}", target.NO_WAY)
    if not isinstance(request, dict):
        target.end('BODY is JSON, but no object: it must look like {"name": "value"}', target.NO_WAY)
    return request


async def _call(to: target.Target, operation: str, body: dict[str, Any], options: Options) -> Reply:
    async with Client(to.rabbitmq_url, to.service) as db:
        return await db.request(operation, body, **options)


async def _send(to: target.Target, operation: str, body: dict[str, Any], options: Options) -> str:
    async with Client(to.rabbitmq_url, to.service) as db:
        return await db.send(operation, body, **options)


async def _watch(to: target.Target, pattern: str, show: Callable[[Event], None]) -> None:
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


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def _print_json(event: Event) -> None:
    sys.stdout.write(pydantic_core.to_json(event).decode() + "\n")
    sys.stdout.flush()


def _print_line(event: Event) -> None:
    what = event.body.get("id") or event.body.get("detail") or ""
    version = "" if event.entity_version is None else f"v{event.entity_version}"
    line = f"[dim]{event.time or ''}[/]  [bold]{escape(event.name):<24}[/]  {escape(str(what))}  {version}"
    Output().print(line.rstrip(), soft_wrap=True)
    sys.stdout.flush()
