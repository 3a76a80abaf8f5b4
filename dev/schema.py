"""The schema of a database: `python -m dev.schema check | [--contract] new MESSAGE | upgrade | downgrade`.

`check` and `new` compare the models with a throw-away database that every migration has run on: the
first fails where they differ, the second writes the migration that is missing. The other two work
on the database that the settings name, else on that of the server which is found.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

import config
from dev import contract_phase, database, search, servers
from src.dialects import UnusableDatabase, place
from src.dialects.driver_errors import describe
from src.settings import parts

ALEMBIC = Config(Path(__file__).parent.parent / "alembic.ini")


def check() -> None:
    """`CommandError` where the models hold something that the migrations do not make."""
    with _migrated():
        command.check(ALEMBIC)


def write(message: str, *, contract: bool = False) -> None:
    """Write the migration that makes what the models hold and no migration makes yet.

    Raises CommandError where the version before could not work with the result, unless ``contract`` allows that.
    """
    if not message.strip():
        raise CommandError('Say what the migration does: make db-migrate-new m="add orders"')
    with _migrated():
        command.revision(
            ALEMBIC, message, autogenerate=True, process_revision_directives=None if contract else _refuse_contractions
        )


def _refuse_contractions(context: MigrationContext, _revision: object, scripts: list[ops.MigrationScript]) -> None:
    """Raise CommandError where a script holds what the version before cannot work with."""
    found = [
        each
        for script in scripts
        for upgrade in script.upgrade_ops_list
        for each in contract_phase.contractions(context, upgrade)
    ]
    if found:
        lines = [f"  {each.code}\n    {each.remedy}" for each in found]
        raise CommandError("\n".join(["No migration was written: the version before could not work with it.", *lines]))


def upgrade() -> None:
    """Migrate the database to the newest revision."""
    _choose()
    command.upgrade(ALEMBIC, "head")


def downgrade() -> None:
    """Take the database back by one revision."""
    _choose()
    command.downgrade(ALEMBIC, "-1")


@contextmanager
def _migrated() -> Iterator[None]:
    with database.fresh(servers.find_postgres().url, "db_schema") as url:
        os.environ["DATABASE_URL"] = url
        command.upgrade(ALEMBIC, "head")
        yield


def _choose() -> None:
    # Parts of a URL and a line in .env count too: who named a database would not expect another to change.
    if "DEV_SERVERS" in os.environ or not config.load().model_fields_set & {*parts.DATABASE}:
        os.environ["DATABASE_URL"] = servers.find_postgres().url


def _run(action: str, message: str, *, contract: bool) -> None:
    match action:
        case "check":
            check()
        case "new":
            write(message, contract=contract)
        case "upgrade":
            upgrade()
        case "downgrade":
            downgrade()


def main() -> int:
    """Run the command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.schema", description="The schema of a database.")
    parser.add_argument("action", choices=("check", "new", "upgrade", "downgrade"))
    parser.add_argument("message", nargs="?", default="", help="what the new migration does")
    parser.add_argument(
        "--contract",
        action="store_true",
        help="let the new migration drop or narrow what the version before uses",
    )
    arguments = parser.parse_args()
    try:
        _run(arguments.action, arguments.message, contract=arguments.contract)
    except (search.NoServerError, config.WrongSettings, CommandError, UnusableDatabase) as error:
        search.say(str(error))
    except (SQLAlchemyError, OSError) as error:
        search.say(f"{place(config.load().dsn)}: {describe(error)}")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
