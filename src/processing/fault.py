"""Whose fault a value is that the database has rejected: the request's, or the schema's."""

from sqlalchemy.exc import DBAPIError

from src import dialects
from src.entity import Operation
from src.errors import Invalid
from src.processing.request import Request


def cause_of(request: Request[Operation], problem: Exception) -> Exception:
    """Return the problem, or the driver's error where no field of the request explains why the value was rejected.

    A requester can do nothing about a NOT NULL column that the request does not name, about a constraint that the
    models do not have, or about a trigger. Such an error is internal: the request may succeed once the schema is
    repaired.
    """
    error = problem.__cause__
    if not isinstance(problem, Invalid) or not isinstance(error, DBAPIError):
        return problem
    details = dialects.details(error)
    if details is None or not (details.column or details.constraint):
        return problem
    if details.column:
        return problem if details.column in _columns(request) else error
    tables = request.operation.entity.model.metadata.tables.values()
    own = {constraint.name for table in tables for constraint in table.constraints}
    return problem if details.constraint in own else error


def _columns(request: Request[Operation]) -> set[str]:
    """Return the columns that the fields of the request are named for."""
    fields = type(request.data).model_fields
    return {fields[name].alias or name for name in request.data.model_fields_set}
