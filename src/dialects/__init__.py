"""What differs between the databases, and nothing else: how to connect, what errors mean, and a few statements."""

from importlib.util import find_spec

from sqlalchemy import exc

from src.dialects.dialect import Dialect, Unservable
from src.dialects.mysql import MySQL
from src.dialects.postgresql import PostgreSQL
from src.dialects.sqlite import SQLite

__all__ = ["Dialect", "Unservable", "meaning", "of"]

_MYSQL = MySQL()
_DIALECTS: dict[str, Dialect] = {
    "postgresql": PostgreSQL(),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "sqlite": SQLite(),
}


def of(name: str) -> Dialect:
    """The dialect that SQLAlchemy calls so. Raises Unservable where its driver is not installed."""
    dialect = _DIALECTS[name]
    if find_spec(dialect.driver) is None:
        raise Unservable(f"{dialect.name} needs {dialect.driver}: install the extra {dialect.extra}.")
    return dialect


def meaning(error: exc.DBAPIError) -> type[Exception] | None:
    """What a driver's error is to us: no two drivers have errors that look alike."""
    found = (dialect.meaning(error.orig) for dialect in _DIALECTS.values())
    return next((each for each in found if each), None)
