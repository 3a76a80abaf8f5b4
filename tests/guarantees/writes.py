"""A request of each kind that writes, and one that is rejected."""

import uuid
from typing import Any

import pytest

SESSION, MISSING = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
NOTE = str(uuid.UUID(int=3))

type Request = tuple[str, dict[str, Any]]

WRITES: dict[str, Request] = {
    "create": ("session.create", {"title": "new"}),
    "update": ("session.update", {"id": SESSION, "title": "changed"}),
    "command": ("session.close", {"id": SESSION}),
    "delete": ("session.delete", {"id": SESSION}),
}
REJECTED: Request = ("query.create", {"session_id": MISSING, "text": "Where?"})
EACH_WRITE = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


def new_note(number: int, **more: Any) -> dict[str, Any]:
    return {"session_id": SESSION, "number": number} | more
