"""The command line. What a command needs is imported when it runs, the settings too."""

from typing import TYPE_CHECKING

import typer

from src.cli import app

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


@app.callback()
def main(context: typer.Context) -> None:
    """DB owns the data of a conversational platform and is spoken to through RabbitMQ."""
    context.obj = _settings


if __name__ == "__main__":
    app()
