"""Requests that cannot be served, one for each reason why."""

from dataclasses import dataclass
from typing import Any

from tests.guarantees.writes import MISSING, NOTE, Request, new_note


@dataclass(frozen=True)
class Bad:
    """A request that cannot be served, and the problem that it is."""

    problem: str
    operation: str
    id: str = NOTE
    more: Any = None

    @property
    def request(self) -> Request:
        return self.operation, {"id": self.id} | (self.more or {})


BAD = {
    "an id that is taken": Bad("conflict", "note.create", more=new_note(1000)),
    "a unique value that is taken": Bad("conflict", "note.create", MISSING, new_note(0)),
    "a parent that is not there": Bad("foreign-key", "note.create", MISSING, new_note(1000, session_id=MISSING)),
    "a row that is not there": Bad("not-found", "note.file", MISSING),
    "a value that no column holds": Bad("invalid", "note.create", MISSING, new_note(2**31)),
    "a value that the driver refuses": Bad("invalid", "trouble.make_too_large"),
    "a value that the database refuses": Bad("invalid", "trouble.make_too_long"),
    "a change to a value that the database refuses": Bad("invalid", "trouble.change_to_too_long"),
    "a value that fails a check": Bad("invalid", "note.create", MISSING, new_note(-1)),
    "a bug": Bad("internal", "trouble.break"),
    "a bug after a change": Bad("internal", "trouble.change_and_break"),
    "a problem after a change": Bad("illegal-transition", "trouble.change_and_refuse"),
    "a null that no field of the request explains": Bad("internal", "trouble.empty"),
    "a statement that is none": Bad("internal", "trouble.misspell"),
    "a statement that takes too long": Bad("internal", "trouble.dawdle"),
    "a refused statement that the handler hides": Bad("internal", "trouble.hide"),
    "an answer that is no JSON": Bad("internal", "trouble.babble"),
}
