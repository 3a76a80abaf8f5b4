"""Throw-away databases on a server that we found."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from examples import databases
from src.database import Database

_CONNECT_SECONDS = 3.0
_MAY_CREATE = {
    "postgresql": "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user",
    "mysql": "SELECT count(*) FROM information_schema.user_privileges WHERE privilege_type = 'CREATE'"
    " AND replace(grantee, char(39), '') = current_user()",
}


def may_create(url: str) -> bool:
    """Whether the server at `url` lets us in and lets us create a database."""
    try:
        return asyncio.run(_may_create(url))
    except (OSError, SQLAlchemyError):
        return False


async def _may_create(url: str) -> bool:
    async with asyncio.timeout(_CONNECT_SECONDS), Database(url).connect() as connection:
        return bool(await connection.scalar(sa.text(_MAY_CREATE[sa.make_url(url).get_backend_name()])))


def made(url: str, name: str) -> str:
    """The URL of the database of this name beside the one at `url`, created where it is missing."""
    found = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    if not may_create(found):
        with suppress(SQLAlchemyError):  # somebody else may make it at this moment
            asyncio.run(databases.make(url, name))
    return found


@contextmanager
def fresh(url: str, prefix: str) -> Iterator[str]:
    """The URL of a new, empty database beside the one at `url`, dropped at the end."""
    made = asyncio.run(databases.make(url, f"{prefix}_{secrets.token_hex(6)}"))
    try:
        yield made
    finally:
        asyncio.run(databases.drop(made))
