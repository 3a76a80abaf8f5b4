"""How a command ends early: with a line on stderr instead of a traceback."""

from typing import NoReturn

import typer

NO_ANSWER = 1
NO_WAY = 2


def end(line: str, code: int) -> NoReturn:
    """End the program with one line on stderr."""
    typer.echo(line.replace("\n", " "), err=True)
    raise typer.Exit(code)
