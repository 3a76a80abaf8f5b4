"""Talk to a running service: ``call``, ``send``, ``watch``."""

from typing import Annotated

import typer

from src.cli import target

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
    """Ask the service something, and print its answer.

    Exit code 0: done. 1: the answer is a problem, or none came in time. 2: it could not be asked.

    \b
    ./db call user.create '{"username": "ada"}'
    ./db call query.list '{"where": {"status": "pending"}}'
    ./db call user.get_by_username '{"username": "ada"}'
    """
    from src.cli import requester

    to = target.of(context)
    requester.call(
        to, operation, body, message_id=message_id, partition_key=partition_key, timeout=timeout, dry_run=dry_run
    )


def send(
    context: typer.Context,
    operation: Operation,
    body: Body = "{}",
    *,
    message_id: MessageId = None,
    partition_key: PartitionKey = None,
    timeout: Timeout = 30.0,
) -> None:
    """Leave a request with the broker, and print its message id.

    No answer is waited for.

    \b
    ./db send session.create '{"title": "Trains"}'
    ./db send user.create - --id ada < user.json
    """
    from src.cli import requester

    to = target.of(context)
    requester.send(to, operation, body, message_id=message_id, partition_key=partition_key, timeout=timeout)


def watch(context: typer.Context, pattern: Pattern = "#", *, as_json: AsJson = False) -> None:
    """Print what happens, a line an event, until Ctrl-C.

    \b
    ./db watch
    ./db watch 'query.*'
    ./db watch '*.created' --json
    """
    from src.cli import watcher

    watcher.watch(target.of(context), pattern, as_json=as_json)
