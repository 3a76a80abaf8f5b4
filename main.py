"""The command line. What a command needs is imported when it runs."""

from typing import Annotated

import typer

import config
from src.cli import Target, app

__all__ = ["app"]


def _settings() -> config.Settings:
    """The settings, or a line for each that is wrong and exit code 2."""
    try:
        return config.load()
    except config.WrongSettings as error:
        typer.echo(f"Wrong settings:\n{error}", err=True)
        raise typer.Exit(2) from None


def _target() -> Target:
    settings = _settings()
    return Target(settings.rabbitmq_url.get_secret_value(), settings.dsn, settings.service_name)


@app.callback()
def main(context: typer.Context) -> None:
    """DB owns the data of a conversational platform and is spoken to through RabbitMQ."""
    context.obj = _target


@app.command()
def serve() -> None:
    """Serve requests until SIGTERM or Ctrl-C. Needs a migrated database; see `migrate`."""
    import uvloop

    from src import service
    from src.amqp.connections import Refused
    from src.operate import logs

    settings = _settings()
    logs.configure(settings.log_level, settings.log_format)
    try:
        if not uvloop.run(service.serve(settings)):
            raise typer.Exit(1)
    except Refused as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


@app.command()
def migrate(revision: Annotated[str, typer.Argument()] = "head") -> None:
    """Bring the database's schema to this version, or to the revision given. Two at once do not race."""
    from alembic import command
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    from src.database import describe
    from src.operate import logs
    from src.operate import revision as revisions

    settings = _settings()
    logs.configure(settings.log_level, settings.log_format)
    try:
        command.upgrade(revisions.config(), revision)
    except CommandError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    except (DBAPIError, OSError) as error:
        typer.echo(f"PostgreSQL at {settings.database_host}: {describe(error)}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
