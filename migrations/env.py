"""Where Alembic meets the models: every entity is imported first, and two upgrades at once do not race.

Whoever waits for a table's lock has everybody behind them who asks for the table later. So a migration waits for a
moment only, lets them pass, and tries again: ``alembic -x tries=5 upgrade head`` gives up after five times.
"""

import asyncio
import logging
import time
from typing import Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import config
from src import models, pauses
from src.database import describe, engine_url, sqlstate
from src.work import careful, inbox

log = logging.getLogger("migrations")

LOCK = 0x6462_6D69_6772_6174  # "dbmigrat": held by the session that migrates

LOCK_TIMEOUT = "SET lock_timeout = '2s'"
LOCKED = "55P03"  # SQLSTATE: the lock was not had in time
TRIES = 60  # about five minutes

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
    connection.execute(sa.text(LOCK_TIMEOUT))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        render_item=render,
    )
    tries = int(context.get_x_argument(as_dictionary=True).get("tries", TRIES))
    for left, pause in zip(reversed(range(tries)), pauses.growing(longest=5), strict=False):
        if migrated(last=not left):
            return
        time.sleep(pause)


def migrated(*, last: bool) -> bool:
    """Whether nobody was in the way. Raises DBAPIError, for a lock that others hold at the ``last`` try alone."""
    try:
        with context.begin_transaction():
            context.run_migrations()
    except sa.exc.DBAPIError as error:
        if last or sqlstate(error) != LOCKED:
            raise
        log.warning("a lock is held by others, trying again: %s", describe(error))
        return False
    return True


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
        context.execute(LOCK_TIMEOUT.replace("SET", "SET LOCAL"))
        context.run_migrations()
else:
    asyncio.run(connect())
