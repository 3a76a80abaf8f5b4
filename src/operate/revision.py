"""Which migration the database is at, against those that this code knows."""

from enum import Enum, auto
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from src.database import Database

ROOT = Path(__file__).parents[2]


class Revision(Enum):
    """The database's schema as this code sees it."""

    BEHIND = auto()
    CURRENT = auto()
    AHEAD = auto()


def config() -> Config:
    """Alembic's configuration, wherever the process was started."""
    return Config(ROOT / "alembic.ini")


async def compare(database: Database) -> Revision:
    """Behind where a known migration is missing; ahead where the database has one that is unknown here."""
    async with database.connect() as connection:
        current = await connection.run_sync(_heads)
    known, heads = _written()
    if current - known:
        return Revision.AHEAD
    return Revision.CURRENT if current == heads else Revision.BEHIND


@cache
def _written() -> tuple[frozenset[str], frozenset[str]]:
    """The migrations of this version, all and the newest. Their files are read once: this is asked again and again."""
    script = ScriptDirectory.from_config(config())
    return frozenset(each.revision for each in script.walk_revisions()), frozenset(script.get_heads())


def _heads(connection: sa.Connection) -> set[str]:
    return set(MigrationContext.configure(connection).get_current_heads())
