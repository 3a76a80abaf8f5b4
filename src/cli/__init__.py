"""The command line, one file a group of commands. ``main.py`` adds what needs the whole service."""

import typer

from examples.demo import demo
from src.cli import talk
from src.cli.play import play
from src.cli.target import Target

__all__ = ["Target", "app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (talk.call, talk.send, talk.watch, play, demo):
    app.command()(command)
