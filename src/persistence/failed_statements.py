"""What the database has refused: after it nothing is committed, or half of a transaction might stay.

PostgreSQL answers such a COMMIT as if it were one, and keeps nothing; MariaDB has ended the transaction at a deadlock,
and would keep what came after.
"""

from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncSession

_UNTOLD = "untold refusal"
_STANDING = "standing refusal"


@dataclass(frozen=True, slots=True)
class FailedStatements:
    """Whether the database has refused a statement of this connection, even if nobody was told."""

    _info: dict[str, Any]

    @classmethod
    async def of(cls, session: AsyncSession) -> Self:
        """Those from now on."""
        refusals = cls((await session.connection()).info)
        refusals.take()
        return refusals

    def take(self) -> BaseException | None:
        """The first one since the last call."""
        error: BaseException | None = self._info.pop(_UNTOLD, None)
        return error

    def check(self) -> None:
        """Raise again the one that still forbids the commit."""
        if error := self._info.get(_STANDING):
            raise error


def watch(engine: sa.Engine) -> None:
    """Raise a refusal again at a commit, and where a savepoint begins or ends, unless it was rolled back."""
    event.listen(engine, "handle_error", _note)
    event.listen(engine, "begin", _forget)
    event.listen(engine, "rollback_savepoint", _forget)
    event.listen(engine, "savepoint", _check)
    event.listen(engine, "release_savepoint", _check_release)
    event.listen(engine, "commit", _check_commit)


def _note(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception or context.original_exception
    if context.connection is not None:
        context.connection.info.setdefault(_UNTOLD, error)
        context.connection.info.setdefault(_STANDING, error)


def _forget(connection: sa.Connection, *_: object) -> None:
    connection.info.pop(_STANDING, None)


def _check(connection: sa.Connection, *_: object) -> None:
    FailedStatements(connection.info).check()


def _check_release(connection: sa.Connection, savepoint: str, _context: object) -> None:
    try:
        _check(connection)
    except BaseException:  # as at a commit; what the savepoint takes back need not stop what comes after it
        connection.engine.dialect.do_rollback_to_savepoint(connection, savepoint)
        _forget(connection)
        raise


def _check_commit(connection: sa.Connection) -> None:
    try:
        _check(connection)
    except BaseException:  # SQLAlchemy takes the transaction for ended, however its commit ends
        connection.engine.dialect.do_rollback(connection.connection)
        raise
