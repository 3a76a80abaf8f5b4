"""Create the SQLAlchemy engines for a ``DATABASE_URL``."""

from dataclasses import dataclass
from typing import Any

import pydantic_core
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from src import dialects
from src.dialects import Dialect


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of one database.

    ``pooled`` has a connection pool, which opens ``pool_limit`` connections at most. ``unpooled`` opens a connection a
    call, so that a probe never waits for the pool.
    """

    dialect: Dialect
    pooled: AsyncEngine
    unpooled: AsyncEngine
    pool_limit: int


def create(url: sa.URL, application_name: str, **options: Any) -> Engines:
    """Create the engines of the service. ``options`` are those of ``create_async_engine`` for the pool."""
    dialect = dialects.of(url.get_backend_name())
    found = dialect.engine_options(url, application_name)
    arguments: dict[str, Any] = {
        **found.arguments,
        "hide_parameters": True,  # parameters are the content of requests, which no log may hold
        "json_serializer": lambda value: pydantic_core.to_json(value).decode(),
        "json_deserializer": pydantic_core.from_json,
    }
    options |= arguments
    pooled = _create(dialect, found.url, options)
    unpooled = pooled if found.in_memory else _create(dialect, found.url, arguments | {"poolclass": NullPool})
    pool_limit = options.get("pool_size", 5) + options.get("max_overflow", 10)  # SQLAlchemy's defaults
    return Engines(dialect, pooled, unpooled, pool_limit)


def create_for_migrations(url: sa.URL) -> AsyncEngine:
    """Create an engine without a pool, whose statements have no timeout. Raises UnusableDatabase."""
    dialect = dialects.of(url.get_backend_name())
    found = dialect.engine_options(url, "migrations", without_timeouts=True)
    return _create(dialect, found.url, {"poolclass": NullPool, **found.arguments})


def _create(dialect: Dialect, url: sa.URL, arguments: dict[str, Any]) -> AsyncEngine:
    engine = create_async_engine(url, **arguments)
    dialect.add_listeners(engine.sync_engine)
    return engine
