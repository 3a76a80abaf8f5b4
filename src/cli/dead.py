"""Requests that could not be served: ``dead list``, ``show``, ``replay``, ``drop``."""

import sys
from typing import Annotated

import typer

from src.cli import target
from src.cli.ending import NO_ANSWER, NO_WAY, end

Limit = Annotated[int, typer.Option(help="How many to list, the oldest first.", min=1, max=65535)]
Id = Annotated[str, typer.Argument(help="The letter, as `dead list` names it.", show_default=False)]
SomeId = Annotated[str, typer.Argument(help="The letter, as `dead list` names it.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="Every letter that is there now.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What could not be served: look at it, send it again, drop it.",
)


@app.command("list")
def list_letters(context: typer.Context, *, limit: Limit = 100) -> None:
    """Print a line for each dead letter, the oldest first.

    Its id, age, size, reason, operation and message id. Nothing is taken away: who looks at the same moment sees none.

    \b
    ./db dead list
    ./db dead list --limit 1000
    """
    from src.cli import dead_letters

    dead_letters.list_all(target.of(context), limit)


@app.command()
def show(context: typer.Context, letter: Id) -> None:
    """Print a dead letter: its properties, its headers and its body.

    \b
    ./db dead show 0a1b2c3d4e5f
    """
    from src.cli import dead_letters

    dead_letters.show(target.of(context), letter)


@app.command()
def replay(context: typer.Context, letter: SomeId = "", *, every: All = False) -> None:
    """Send a dead letter to the service again, as a new request.

    Nobody waits for its answer. It leaves the queue when RabbitMQ has confirmed the request, whose id derives from the
    letter's: however often this is interrupted and begun again, the request is applied once. One whose change stands
    already stays where it is. Exit code 1 where a letter was not sent.

    \b
    ./db dead replay 0a1b2c3d4e5f
    ./db dead replay --all
    """
    from src.cli import dead_letters

    _check_which(letter, every)
    dead_letters.replay(target.of(context), letter)


@app.command()
def drop(context: typer.Context, letter: SomeId = "", *, every: All = False, yes: Yes = False) -> None:
    """Drop a dead letter for good.

    \b
    ./db dead drop 0a1b2c3d4e5f
    ./db dead drop --all --yes
    """
    from src.cli import dead_letters

    _check_which(letter, every)
    to = target.of(context)
    _confirm(f"Drop {letter or f'every dead letter of {to.service}'} for good?", yes)
    dead_letters.drop(to, letter)


def _check_which(letter: str, every: bool) -> None:  # noqa: FBT001 - typer's
    if bool(letter) == every:
        end("which letter? Give its id, or --all", NO_WAY)


def _confirm(question: str, yes: bool) -> None:  # noqa: FBT001 - typer's
    """Ask on a terminal; end the program where the answer is no, or nobody is there to give it."""
    if not yes and not sys.stdin.isatty():
        end("nobody is there to be asked; --yes drops without asking", NO_WAY)
    if not yes and not typer.confirm(question, err=True):
        end("nothing was dropped", NO_ANSWER)
