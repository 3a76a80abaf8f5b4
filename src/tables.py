"""Every table: those of the entities, and the service's own. Migrations change them; ``create`` makes all at once."""

import sqlalchemy as sa

from src import dialects, models, revision
from src.work import careful, inbox


def metadata() -> sa.MetaData:
    """What SQLAlchemy knows of all of them."""
    models.entities()
    (found,) = {table.metadata for table in (inbox.table, careful.table)}
    return found


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
