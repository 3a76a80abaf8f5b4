"""How a change is counted: the version grows by one, and ``updated_at`` is the time of the change."""

from typing import Any

import sqlalchemy as sa

from src.base import Base, Record
from src.clock import now


def increment(row: Record, version: int) -> None:
    """Set the version that follows ``version``, and the time."""
    row.version = version + 1
    row.updated_at = now()


def increment_in_sql(model: type[Base], moment: sa.BindParameter[Any]) -> dict[str, Any]:
    """Return the same as the values of an UPDATE; none for a model without versions."""
    return {"version": model.version + 1, "updated_at": moment} if issubclass(model, Record) else {}
