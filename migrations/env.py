"""Where Alembic meets the models: every entity is imported first, and two upgrades at once do not race."""

import asyncio
from typing import Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import config
from src import models
from src.database import engine_url
from src.work import careful, inbox

LOCK = 0x6462_6D69_6772_6174  # "dbmigrat": held by the session that migrates

models.entities()
(metadata,) = {table.metadata for table in (inbox.table, careful.table)}  # that of every entity, and of what is none


def render(kind: str, item: object, autogen: AutogenContext) -> str | Literal[False]:
    """A JSON column is written in SQLAlchemy's own words: a migration must not change with our code."""
    if kind != "type" or not isinstance(item, sa.JSON):
        return False
    autogen.imports.add("from sqlalchemy.dialects import postgresql")
    none = "none_as_null=True"
    return f"sa.JSON({none}).with_variant(postgresql.JSONB({none}), 'postgresql')"


def run(connection: sa.Connection) -> None:
    """Migrate on this connection, alone."""
    connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        render_item=render,
    )
    with context.begin_transaction():
        context.run_migrations()


def url() -> sa.URL:
    """Where the settings say that the database is."""
    return engine_url(config.load().dsn)[0]


async def connect() -> None:
    engine = create_async_engine(url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)


if context.is_offline_mode():
    context.configure(url=url(), target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(connect())
