"""See the service at work: ``demo``."""

import typer

from src.cli import target


def demo(context: typer.Context) -> None:
    """Show the service at work, and prove the result.

    Makes a database and a service of its own on real servers, plays some conversations, compares what was sent,
    answered, stored and announced, and removes everything again. Exit code 0: all checks hold. 1: one does not.

    \b
    ./db demo
    """
    from examples import demo as example

    example.show(target.of(context))
