"""Run the service, and bring its database up to it: ``serve``, ``migrate``."""

import logging
from typing import Annotated

import typer

from src.cli import target
from src.cli.ending import FAILED, end

Revision = Annotated[str, typer.Argument(help="The revision of the schema.")]


def serve(context: typer.Context) -> None:
    """Serve requests until SIGTERM or Ctrl-C.

    Needs a migrated database; see `migrate`.
    """
    import uvloop

    from src import startup
    from src.amqp.connections import StartupError
    from src.dialects import UnusableDatabase
    from src.telemetry import logs

    settings = target.settings(context)
    logs.configure(settings.log_level, settings.log_format, settings.service_name)
    try:
        if not uvloop.run(startup.serve(settings)):
            raise typer.Exit(FAILED)
    except (StartupError, UnusableDatabase) as error:
        end(str(error), FAILED)


def migrate(context: typer.Context, revision: Revision = "head") -> None:
    """Bring the database's schema to this version.

    Two at once do not race.
    """
    from alembic import command
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    from src import dialects, schema
    from src.dialects.driver_errors import describe
    from src.telemetry import logs

    settings = target.settings(context)
    logs.configure(settings.log_level, settings.log_format, settings.service_name)
    try:
        command.upgrade(schema.alembic_config(), revision)
        logging.getLogger("db").info("%s is migrated to %s", dialects.place(settings.dsn), revision)
    except (CommandError, dialects.UnusableDatabase) as error:
        end(str(error), FAILED)
    except (DBAPIError, OSError) as error:
        end(f"{dialects.place(settings.dsn)}: {describe(error)}", FAILED)
