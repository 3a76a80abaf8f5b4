"""The way of a session's connection back to the pool, which no failure prevents.

SQLAlchemy closes a session and then its connection: where the rollback in between raises, the connection is left in
use. Each session notes its connection, so that it can be closed all the same.
"""

import logging

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from src.dialects.driver_errors import describe
from src.persistence.write_session import BatchSession, LibrarySession

log = logging.getLogger(__name__)

_INFO = "connection"


class ReadSession(Session):
    """A session that only reads."""


async def give_back(session: AsyncSession) -> None:
    """Close a session that still has a connection, which goes to the pool.

    Raises no driver error: the error of the block counts.
    """
    left: sa.Connection | None = session.info.get(_INFO)
    if left is None or left.closed:
        return
    try:
        await session.close()
    except Exception as error:
        log.warning("a rollback failed: %s", describe(error))
    finally:
        await sever(session)


async def sever(session: AsyncSession) -> None:
    """Close the session's connection if it is still in use; nothing is sent by it any more."""
    left: sa.Connection | None = session.info.get(_INFO)
    if left and not left.closed and not left.invalidated:
        await session.run_sync(lambda _: left.invalidate())


def _note(session: Session, _transaction: object, connection: sa.Connection) -> None:
    session.info[_INFO] = connection


for _each in (LibrarySession, BatchSession, ReadSession):
    event.listen(_each, "after_begin", _note)
