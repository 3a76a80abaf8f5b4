"""Which migration the database is at, against those that this code knows."""

from collections.abc import Collection
from enum import StrEnum
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

ROOT = Path(__file__).parents[1]


class Revision(StrEnum):
    """The database's schema as this code sees it."""

    BEHIND = "behind"
    CURRENT = "current"
    AHEAD = "ahead"


def config() -> Config:
    """Alembic's configuration, wherever the process was started."""
    return Config(ROOT / "alembic.ini")


def compare(current: Collection[str]) -> Revision:
    """Behind where a known migration is missing; ahead where the database has one that is unknown here."""
    known, heads = _written()
    if not known.issuperset(current):
        return Revision.AHEAD
    return Revision.CURRENT if heads == {*current} else Revision.BEHIND


def of(connection: sa.Connection) -> Collection[str]:
    """The migrations that the database is at: one, or none before the first."""
    return MigrationContext.configure(connection).get_current_heads()


def stamp(connection: sa.Connection) -> None:
    """Note that the schema is the newest."""
    MigrationContext.configure(connection).stamp(_script(), "head")


def erase(connection: sa.Connection) -> None:
    """Note that there is no schema."""
    connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))


@cache
def _written() -> tuple[frozenset[str], frozenset[str]]:
    """The migrations of this version, all and the newest. Their files are read once: this is asked again and again."""
    script = _script()
    return frozenset(each.revision for each in script.walk_revisions()), frozenset(script.get_heads())


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())
