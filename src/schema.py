"""All tables, those of the entities and the service's own, and the schema's revision.

Migrations change the tables of a database that is to stay; ``create`` makes all tables at once.
"""

from collections.abc import Collection
from enum import StrEnum
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from src import dialects, models
from src.base import Base
from src.dialects import types

ROOT = Path(__file__).parents[1]

inbox = sa.Table(
    "inbox",
    Base.metadata,
    sa.Column("key", types.Digest, primary_key=True, comment="sha256 of sender, NUL, message_id"),
    sa.Column("fingerprint", types.Digest, nullable=False, comment="sha256 of operation, content type, body"),
    sa.Column("outcome", types.Blob, nullable=False, comment="msgpack, zlib from 1 KiB"),
    sa.Column("received_at", types.Moment, nullable=False, index=True),
)

suspects = sa.Table(
    "suspects",
    Base.metadata,
    sa.Column("key", types.Digest, primary_key=True, comment="sha256 of what tells a request from others"),
    sa.Column("attempt", types.Identifier, primary_key=True),
    sa.Column("begun_at", types.Moment, server_default=sa.func.now(), nullable=False),
)


FOREIGN = "the database belongs to another application: its revision is unknown, and tables of this version are missing"


class Revision(StrEnum):
    """The database's schema compared with this code's migrations."""

    BEHIND = "behind"
    CURRENT = "current"
    AHEAD = "ahead"
    FOREIGN = "foreign"
    """The revision is unknown and tables of this version are missing: the database of another application."""


def metadata() -> sa.MetaData:
    """Return the metadata of all tables, after the import of every entity."""
    models.entities()
    return Base.metadata


def create(connection: sa.Connection) -> None:
    """Create the missing tables; where all were missing, stamp the schema with the newest revision."""
    dialects.of(connection.dialect.name).begin_migration(connection)
    tables, existing = metadata(), sa.inspect(connection).get_table_names()
    tables.create_all(connection)
    if not tables.tables.keys() & {*existing}:
        MigrationContext.configure(connection).stamp(scripts(), "head")
    connection.commit()


def drop(connection: sa.Connection) -> None:
    """Drop all tables, with their rows and the revision."""
    dialects.of(connection.dialect.name).begin_migration(connection)
    metadata().drop_all(connection)
    connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
    connection.commit()


def current_revisions(connection: sa.Connection) -> Collection[str]:
    """Return the revision that the database is at; none before the first migration."""
    return MigrationContext.configure(connection).get_current_heads()


def compare(connection: sa.Connection, current: Collection[str]) -> Revision:
    """Compare the database's revisions with this code's migrations; where they are unknown, its tables as well."""
    known, heads = _known_revisions()
    if known.issuperset(current):
        return Revision.CURRENT if heads == {*current} else Revision.BEHIND
    tables = {*sa.inspect(connection).get_table_names()}
    return Revision.AHEAD if metadata().tables.keys() <= tables else Revision.FOREIGN


@cache
def _known_revisions() -> tuple[frozenset[str], frozenset[str]]:
    """Return all revisions of this code, and the newest. The files are read once: each readiness check asks."""
    found = scripts()
    return frozenset(each.revision for each in found.walk_revisions()), frozenset(found.get_heads())


def scripts() -> ScriptDirectory:
    """Return the directory of the migrations."""
    return ScriptDirectory.from_config(alembic_config())


def alembic_config() -> Config:
    """Return Alembic's configuration, independent of the working directory."""
    return Config(ROOT / "alembic.ini")
