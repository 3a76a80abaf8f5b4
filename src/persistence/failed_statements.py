"""Statements that the database has refused: after one nothing is committed, even where its error was caught.

PostgreSQL answers the COMMIT after a failed statement with success, and keeps nothing. MariaDB has ended the
transaction at a deadlock, and would commit what came after it.
"""

from dataclasses import dataclass
from typing import Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncSession

_INFO = "failed statements"


@dataclass(slots=True)
class FailedStatements:
    """The errors of one connection. ``standing`` prevents the commit.

    A rollback, also to a savepoint, clears ``standing``. ``first`` stays until its reader clears it.
    """

    first: BaseException | None = None
    standing: BaseException | None = None

    @classmethod
    async def of(cls, session: AsyncSession) -> Self:
        """Return those of the session's connection from now on."""
        failed: Self = (await session.connection()).info.setdefault(_INFO, cls())
        failed.first = None
        return failed


def watch(engine: sa.Engine) -> None:
    """Raise the standing error again at a commit, and where a savepoint begins or is released."""
    event.listen(engine, "handle_error", _record)
    event.listen(engine, "begin", _clear)
    event.listen(engine, "rollback_savepoint", _clear)
    event.listen(engine, "savepoint", _check)
    event.listen(engine, "release_savepoint", _check_release)
    event.listen(engine, "commit", _check_commit)


def _record(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception or context.original_exception
    if context.connection is not None:
        failed: FailedStatements = context.connection.info.setdefault(_INFO, FailedStatements())
        failed.first = failed.first or error
        failed.standing = failed.standing or error


def _clear(connection: sa.Connection, *_: object) -> None:
    if failed := connection.info.get(_INFO):
        failed.standing = None


def _check(connection: sa.Connection, *_: object) -> None:
    failed: FailedStatements | None = connection.info.get(_INFO)
    if failed and failed.standing:
        raise failed.standing


def _check_release(connection: sa.Connection, savepoint: str, _context: object) -> None:
    try:
        _check(connection)
    except BaseException:  # roll back to the savepoint, so that the transaction can go on
        connection.engine.dialect.do_rollback_to_savepoint(connection, savepoint)
        _clear(connection)
        raise


def _check_commit(connection: sa.Connection) -> None:
    try:
        _check(connection)
    except BaseException:  # SQLAlchemy regards the transaction as ended, whatever its commit raises
        connection.engine.dialect.do_rollback(connection.connection)
        raise
