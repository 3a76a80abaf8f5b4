"""Throw-away databases on a PostgreSQL that we found."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

_CONNECT_SECONDS = 3.0
_MAY_CREATE = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user"


def may_create(url: str) -> bool:
    """Whether the server lets us in and lets us create a database."""
    try:
        return bool(_ask(url, _MAY_CREATE))
    except (OSError, SQLAlchemyError):
        return False


def made(url: str, name: str) -> str:
    """The URL of the database of this name beside the one at `url`, created where it is missing."""
    found = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    if not may_create(found):
        with suppress(SQLAlchemyError):  # somebody else may make it at this moment
            _ask(url, f'CREATE DATABASE "{name}"')
    return found


@contextmanager
def fresh(url: str, prefix: str) -> Iterator[str]:
    """The URL of a new, empty database beside the one at `url`, dropped at the end."""
    name = f"{prefix}_{secrets.token_hex(6)}"
    _ask(url, f"CREATE DATABASE {name}")
    try:
        yield sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        _ask(url, f"DROP DATABASE {name} WITH (FORCE)")


def _ask(url: str, statement: str) -> object:
    return asyncio.run(_ask_async(sa.make_url(url).set(drivername="postgresql+asyncpg"), statement))


async def _ask_async(url: sa.URL, statement: str) -> object:
    engine = create_async_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, connect_args={"timeout": _CONNECT_SECONDS}
    )
    async with engine.connect() as connection:
        result = await connection.execute(sa.text(statement))
        return result.scalar() if result.returns_rows else None
