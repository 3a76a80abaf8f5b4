"""The command line. What a command needs is imported when it runs, the settings too."""

import os
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the imports take a moment: Ctrl-C ends them without a traceback
    if os.getpid() == 1:  # the first process of a container has no default action for a signal
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))

from typing import TYPE_CHECKING, Annotated

import typer

from src import __version__
from src.cli import app
from src.cli.ending import ending_unwritable

if TYPE_CHECKING:
    import config

__all__ = ["app"]


def _settings() -> "config.Settings":
    """The settings, or a line for each that is wrong and exit code 2."""
    import config

    try:
        return config.load()
    except config.WrongSettings as error:
        typer.echo(f"Wrong settings:\n{error}", err=True)
        raise typer.Exit(2) from None


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - typer's
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True)]


@app.callback()
def main(context: typer.Context, *, _: Version = False) -> None:
    """DB owns the data of a conversational platform and is spoken to through RabbitMQ."""
    context.obj = _settings


if __name__ == "__main__":
    with ending_unwritable():
        app(prog_name="./db")
