"""The ORM sessions that write: a flush also writes the pending rows of the map, and the map hears of ORM statements."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from src.persistence.batch_map import BatchMap
from src.persistence.identity_map import INFO
from src.persistence.library_map import LibraryMap


class BatchSession(Session):
    """The session of a batch of writes."""

    def flush(self, objects: Any = None) -> None:
        """Write the pending rows of the map with those of the session."""
        rows: BatchMap | None = self.info.get(INFO)
        if rows and rows.writer.new:
            rows.writer.insert(self)
        super().flush(objects)
        if rows and rows.writer.deleted:
            rows.writer.delete(self)


class LibrarySession(Session):
    """The session of an application. Each flush counts the versions of what it writes."""

    def flush(self, objects: Any = None) -> None:
        """Write the pending rows of the map with those of the session."""
        rows: LibraryMap | None = self.info.get(INFO)
        if rows is None:
            super().flush(objects)
            return
        rows.writer.insert(self)
        deletes = rows.versions.count(self, rows.is_locked)
        super().flush(objects)
        rows.writer.delete(self)
        if deletes:
            rows.expire_all()


@event.listens_for(BatchSession, "before_commit")
@event.listens_for(LibrarySession, "before_commit")
def _write_pending(session: Session) -> None:
    session.flush()  # a commit flushes only if the session itself has changes


@event.listens_for(BatchSession, "do_orm_execute")
def _mark_stale(state: ORMExecuteState) -> None:
    rows: BatchMap | None = state.session.info.get(INFO)
    if rows and not isinstance(state.statement, sa.Select):
        rows.mark_stale()


@event.listens_for(LibrarySession, "do_orm_execute")
def _expire_before(state: ORMExecuteState) -> None:
    rows: LibraryMap | None = state.session.info.get(INFO)
    if rows and not isinstance(state.statement, sa.Select):
        state.session.flush()
        rows.expire_all()


@event.listens_for(BatchSession, "after_soft_rollback")
def _discard_pending(session: Session, transaction: SessionTransaction) -> None:
    """Discard the pending rows since the savepoint: a savepoint begins with a flush of those before it."""
    rows: BatchMap | None = session.info.get(INFO)
    if rows and transaction.nested:
        rows.writer.clear()
        rows.mark_stale()


@event.listens_for(LibrarySession, "after_soft_rollback")
def _expire_rolled_back(session: Session, transaction: SessionTransaction) -> None:
    rows: LibraryMap | None = session.info.get(INFO)
    if rows and transaction.nested:
        rows.expire_all()


@event.listens_for(LibrarySession, "after_transaction_end")
def _unlock(session: Session, transaction: SessionTransaction) -> None:
    """After a commit of the application's own the rows are not locked any more."""
    rows: LibraryMap | None = session.info.get(INFO)
    if rows and transaction.parent is None:
        rows.versions.clear()
        rows.expire_all()
