"""A request as the unit of work and the reader of batches take it. Independent of AMQP and SQL."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel

from src.processing.outcome import Outcome


class Decodable(Protocol):
    """The part of an operation (``src/entity.py``) that decoding its requests needs."""

    @property
    def key(self) -> str:
        """The routing key of its requests."""

    @property
    def writes(self) -> bool: ...

    @property
    def request(self) -> type[BaseModel]: ...

    @property
    def failed_event(self) -> str | None:
        """The routing key of the event of a final problem."""


@dataclass(slots=True)
class Request[O: Decodable]:
    """A request that fits its operation's schema.

    ``key`` identifies it in the inbox. A request without a key is served at least once, and its outcome is not stored.
    Not frozen, though nothing changes it: a frozen dataclass takes three times as long to make.
    """

    operation: O
    data: BaseModel
    key: bytes | None = None
    fingerprint: bytes = b""
    deadline: datetime | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """A request that fails a check. ``outcome`` is its rejection, unless it was served before under its ``key``.

    Another version or other settings may have served it, or the same service before its deadline.
    """

    outcome: Outcome
    key: bytes | None = None
    fingerprint: bytes = b""


def inbox_key(sender: str, message_id: str) -> bytes:
    """Return the key in the inbox: a hash has one length, no collation, and no character that a database refuses."""
    return hashlib.sha256(f"{sender}\0{message_id}".encode()).digest()
