"""Which migration the database is at, against those that this code knows."""

from enum import Enum, auto
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
    script = ScriptDirectory.from_config(config())
    known = {revision.revision for revision in script.walk_revisions()}
    if current - known:
        return Revision.AHEAD
    return Revision.CURRENT if current == set(script.get_heads()) else Revision.BEHIND


def _heads(connection: sa.Connection) -> set[str]:
    return set(MigrationContext.configure(connection).get_current_heads())
