"""Where Alembic meets the models: every entity is imported first, and two upgrades at once do not race.

Whoever waits for a table's lock has everybody behind them who asks for the table later. So a migration waits for a
moment only, lets them pass, and tries again: ``alembic -x tries=5 upgrade head`` gives up after five times.
"""

import asyncio
import logging
import time
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy.dialects import mysql, postgresql, sqlite

import config
from migrations import columns
from src import dialects, schema
from src.backoff import Backoff
from src.dialects import engines
from src.dialects.driver_errors import describe

log = logging.getLogger("migrations")

TRIES = 60  # about five minutes

metadata = schema.metadata()


def spelled(kind: sa.types.TypeEngine[Any]) -> tuple[str, ...]:
    """What the type is called on each database."""
    return tuple(kind.compile(each.dialect()) for each in (postgresql, mysql, sqlite))


NAMES = {spelled(kind): name for name, kind in vars(columns).items() if isinstance(kind, sa.types.TypeEngine)}


def render(kind: str, item: object, autogen: AutogenContext) -> str | Literal[False]:
    """Types of ours are written in words of the migrations' own, which do not change with our code."""
    if kind != "type" or not isinstance(item, sa.types.TypeEngine):
        return False
    name = "Word" if isinstance(item, sa.Enum) else NAMES.get(spelled(item))
    if name is None:
        return False
    autogen.imports.add("from migrations import columns")
    return f"columns.{name}"


def take_along(_context: object, _revision: object, scripts: list[ops.MigrationScript]) -> None:
    """A table takes its indexes along as it is dropped: MariaDB drops none before that a foreign key needs."""
    for script in scripts:
        for container in (script.upgrade_ops, script.downgrade_ops):
            if container:
                container.ops = [each for each in container.ops if not _goes_along(each, container)]


def _goes_along(operation: ops.MigrateOperation, container: ops.OpContainer) -> bool:
    dropped = {each.table_name for each in container.ops if isinstance(each, ops.DropTableOp)}
    return (
        isinstance(operation, ops.ModifyTableOps)
        and operation.table_name in dropped
        and all(isinstance(each, ops.DropIndexOp) for each in operation.ops)
    )


def run(connection: sa.Connection) -> None:
    """Migrate on this connection, alone."""
    dialect = dialects.of(connection.dialect.name)
    dialect.begin_migration(connection)
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=dialect.reports_server_defaults,
        render_item=render,
        process_revision_directives=take_along,
        transactional_ddl=dialect.transactional_ddl,
    )
    tries = int(context.get_x_argument(as_dictionary=True).get("tries", TRIES))
    backoff = Backoff()
    for left in reversed(range(tries)):
        if migrated(last=not left):
            return
        time.sleep(backoff.delay())


def migrated(*, last: bool) -> bool:
    """Whether nobody was in the way. Raises DBAPIError, for a lock that others hold at the ``last`` try alone."""
    try:
        with context.begin_transaction():
            context.run_migrations()
    except sa.exc.DBAPIError as error:
        if last or not dialects.of(context.get_context().dialect.name).is_lock_timeout(error):
            raise
        log.warning("a lock is held by others, trying again: %s", describe(error))
        return False
    return True


async def connect() -> None:
    engine = engines.create_for_migrations(sa.make_url(config.load().dsn))
    async with engine.connect() as connection:
        await connection.run_sync(run)


if context.is_offline_mode():
    url = sa.make_url(config.load().dsn)
    context.configure(dialect_name=url.get_backend_name(), target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.execute(dialects.of(url.get_backend_name()).offline_lock_timeout)
        context.run_migrations()
else:
    asyncio.run(connect())
