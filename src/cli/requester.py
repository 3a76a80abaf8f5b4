"""Asks the service what ``call`` and ``send`` were told to ask."""

import sys
from typing import Any, Unpack

import pydantic_core
import typer

from src import wire
from src.cli.ending import FAILED, NOT_POSSIBLE, end
from src.cli.output import Output, print_line
from src.cli.runner import run
from src.cli.target import Target
from src.client import Client, Options, Reply


def call(to: Target, operation: str, body: str, **options: Unpack[Options]) -> None:
    """Print the answer; end the program with exit code 1 where it is a problem."""
    reply = run(to, _call(to, operation, _parse(body), options))
    Output().print_document(reply.body)
    if reply.content_type == wire.PROBLEM:
        raise typer.Exit(FAILED)


def send(to: Target, operation: str, body: str, **options: Unpack[Options]) -> None:
    """Print the message id of what the broker has taken."""
    print_line(run(to, _send(to, operation, _parse(body), options)))


def _parse(body: str) -> dict[str, Any]:
    text = sys.stdin.read() if body == "-" else body
    try:
        request = pydantic_core.from_json(text)
    except ValueError as error:
        end(f"BODY is no JSON: {error}", NOT_POSSIBLE)
    if not isinstance(request, dict):
        end('BODY is JSON, but no object: it must look like {"name": "value"}', NOT_POSSIBLE)
    return request


async def _call(to: Target, operation: str, body: dict[str, Any], options: Options) -> Reply:
    async with Client(to.rabbitmq_url, to.service) as db:
        if not await db.serving(options.get("timeout")):
            end(f"the service {to.service!r} is not running; `send` leaves a request for when it does", NOT_POSSIBLE)
        return await db.request(operation, body, **options)


async def _send(to: Target, operation: str, body: dict[str, Any], options: Options) -> str:
    async with Client(to.rabbitmq_url, to.service) as db:
        return await db.send(operation, body, **options)
