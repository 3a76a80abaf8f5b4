"""Translate driver errors into the exceptions of ``src/errors.py``, by error code and never by error text."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from src import dialects
from src.errors import Invalid, Problem, Transient, Unavailable, place, why

LONGEST_DESCRIPTION = 500  # characters


def translate(error: BaseException) -> BaseException:
    """Return the exception that stands for a driver's error; return any other error unchanged."""
    match error:
        case exc.TimeoutError() | OSError() | TimeoutError():  # of the pool, of the network, of the command
            return Unavailable(describe(error))
        case exc.DBAPIError():
            return _translate_driver(error)
        case exc.StatementError(orig=Problem() as problem):  # a column's type has rejected a value
            return problem
        case _:
            return error


def _translate_driver(error: exc.DBAPIError) -> BaseException:
    kind = dialects.error_class(error)
    if kind is Transient:
        return Transient(describe(error))
    if error.connection_invalidated or kind is Unavailable:
        return Unavailable(describe(error))
    if kind is Invalid:
        invalid = Invalid("The database refuses a value.")
        invalid.__cause__ = error
        return invalid
    return kind() if kind else error


def locate(error: BaseException) -> str:
    """Return an exception's type and place, and what a driver's error names: code, table, column, constraint."""
    named = dialects.details(error) if isinstance(error, exc.DBAPIError) else None
    return f"{place(error)}; {named}" if named else place(error)


@contextmanager
def infrastructure_errors() -> Iterator[None]:
    """Raise Transient or Unavailable for every driver error: no single request can be the cause of a failure here."""
    try:
        yield
    except exc.DBAPIError as error:
        ours = translate(error)
        raise (ours if isinstance(ours, Transient) else Unavailable(describe(error))) from error


def describe(error: BaseException) -> str:
    """Return one line without the statement, its parameters and the server's DETAIL, all of which hold values."""
    cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
    return why(cause)[:LONGEST_DESCRIPTION]
