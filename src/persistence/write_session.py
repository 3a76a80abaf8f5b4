"""A session that writes: what ``rows`` has held back goes with its own, and ``rows`` hears of what it cannot see."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from src.persistence import identity_map


class WritingSession(Session):
    """Writes what ``rows`` has held back with its own, and tells it of statements that may change any row."""

    def flush(self, objects: Any = None) -> None:
        """Whatever is asked of the session finds all that was changed before written."""
        loaded: identity_map.IdentityMap | None = self.info.get("rows")
        if loaded is None:
            super().flush(objects)
            return
        loaded.writes.insert(self)
        doubtful = loaded.versions is not None and loaded.versions.count(self, loaded.locked)
        super().flush(objects)
        loaded.writes.delete(self)
        if doubtful:
            loaded.lapse()


@event.listens_for(WritingSession, "before_commit")
def _write_held_back(session: Session) -> None:
    session.flush()  # commit() does not know what ``rows`` has held back


@event.listens_for(WritingSession, "do_orm_execute")
def _doubt(state: ORMExecuteState) -> None:
    if isinstance(state.statement, sa.Select) or not (loaded := state.session.info.get("rows")):
        return
    if loaded.versions:
        state.session.flush()
        loaded.lapse()
    else:
        loaded.doubt()


@event.listens_for(WritingSession, "after_soft_rollback")
def _forget_held_back(session: Session, transaction: SessionTransaction) -> None:
    """What was held back since a savepoint goes with it: to begin one writes all that there was before."""
    if not transaction.nested or not (loaded := session.info.get("rows")):
        return
    if loaded.versions:
        loaded.lapse()
    else:
        loaded.writes.forget()
        loaded.doubt()


@event.listens_for(WritingSession, "after_transaction_end")
def _unlock(session: Session, transaction: SessionTransaction) -> None:
    """Whoever goes on after a commit of their own begins anew."""
    loaded: identity_map.IdentityMap | None = session.info.get("rows")
    if transaction.parent is None and loaded and loaded.versions:
        loaded.versions.forget()
        loaded.lapse()
