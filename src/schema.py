"""Every table: those of the entities, and the service's own. Migrations change them; ``create`` makes all at once."""

import sqlalchemy as sa

from src import dialects, models, revision
from src.base import Base
from src.dialects import types

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


def metadata() -> sa.MetaData:
    """What SQLAlchemy knows of all of them."""
    models.entities()
    return Base.metadata


def create(connection: sa.Connection) -> None:
    """Make those that are missing; where all are, the schema counts as the newest migration's."""
    dialects.of(connection.dialect.name).begin_migration(connection)
    tables, there = metadata(), sa.inspect(connection).get_table_names()
    tables.create_all(connection)
    if not tables.tables.keys() & {*there}:
        revision.stamp(connection)
    connection.commit()


def drop(connection: sa.Connection) -> None:
    """Drop them, with all that is in them."""
    dialects.of(connection.dialect.name).begin_migration(connection)
    metadata().drop_all(connection)
    revision.erase(connection)
    connection.commit()
