"""What differs between the databases: connecting, error codes, checks of the server and a few statements."""

from importlib.util import find_spec

import sqlalchemy as sa
from sqlalchemy import exc

from src.dialects.dialect import Dialect, ErrorDetails, UnusableDatabase
from src.dialects.mysql import MySQL
from src.dialects.postgresql import PostgreSQL
from src.dialects.sqlite import SQLite

__all__ = ["Dialect", "ErrorDetails", "UnusableDatabase", "details", "error_class", "of", "place"]

_MYSQL = MySQL()
_DIALECTS: dict[str, Dialect] = {
    "postgresql": PostgreSQL(),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "sqlite": SQLite(),
}


def of(name: str) -> Dialect:
    """Return the dialect of this SQLAlchemy name. Raises UnusableDatabase where its driver is not installed."""
    dialect = _DIALECTS[name]
    if find_spec(dialect.driver) is None:
        raise UnusableDatabase(f"{dialect.name} needs {dialect.driver}: install the extra {dialect.extra}.")
    return dialect


def place(url: str | sa.URL) -> str:
    """Return the database's kind and address without the password: ``PostgreSQL at 127.0.0.1:5432``."""
    url = sa.make_url(url)
    dialect = of(url.get_backend_name())
    return f"{dialect.name} at {dialect.address(url)}"


def details(error: exc.DBAPIError) -> ErrorDetails | None:
    """Return what a driver's error names; None where it has no code."""
    if error.orig is None:
        return None
    known = reversed(_DIALECTS.values())  # errors of asyncmy have an SQLSTATE as well, those of asyncpg no number
    return next((dialect.details(error.orig) for dialect in known if dialect.code(error.orig)), None)


def error_class(error: exc.DBAPIError) -> type[Exception] | None:
    """Return the exception that stands for a driver's error, or None. No two drivers share an error code."""
    found = (dialect.error_class(error.orig) for dialect in _DIALECTS.values())
    return next((each for each in found if each), None)
