"""What goes in and what comes out, without a word of AMQP or SQL.

Nothing here is changed once it is made. It is not frozen all the same: one of each is made for every message, and a
frozen one costs three times as much to make.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

import pydantic_core
from pydantic import BaseModel

from src import wire
from src.clock import now, timestamp
from src.errors import Internal, Problem


class Decodable(Protocol):
    """As much of an operation as it takes to decode its requests (``src/entity.py`` has the whole)."""

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

    Its ``key`` is what exactly-once is counted by. One without is served at least once, and not remembered.
    """

    operation: O
    data: BaseModel
    key: bytes | None = None
    fingerprint: bytes = b""
    deadline: datetime | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """A request that is not to be served. ``outcome`` is its answer, unless it was served before under its ``key``.

    It may have been: by another version, with other settings, or before it was too late.
    """

    outcome: "Outcome"
    key: bytes | None = None
    fingerprint: bytes = b""


def inbox_key(sender: str, message_id: str) -> bytes:
    """Of one length, without a collation, without a character that a database refuses."""
    return hashlib.sha256(f"{sender}\0{message_id}".encode()).digest()


@dataclass(slots=True)
class Event:
    """Something that happened to one row. ``body`` is the row after it, as the Read schema has it."""

    name: str
    subject: str
    version: int | None
    time: str
    body: bytes


class State(Enum):
    """What became of a request; ``amqp/outgoing.py`` maps each to what is done about it."""

    SERVED = 1  # the numbers are stored
    REJECTED = 2  # the request's fault
    FAILED = 3  # the service's fault
    DEADLY = 4  # so much so that the process has died of it


@dataclass(slots=True)
class Outcome:
    """The answer to a request, as bytes, and its events. A ``final`` one is never decided again."""

    state: State
    type: str
    body: bytes
    content_type: str = wire.JSON
    final: bool = True
    events: tuple[Event, ...] = ()
    error: BaseException | None = field(default=None, compare=False)

    @classmethod
    def of(cls, problem: Problem, operation: Decodable | None = None, subject: str = "") -> "Outcome":
        """The answer that tells a requester what went wrong; the final refusal of a write is an event as well."""
        document = problem.document()
        body = pydantic_core.to_json(document)
        events: tuple[Event, ...] = ()
        if operation and operation.failed_event and not problem.retryable:
            events = (Event(operation.failed_event, subject, None, timestamp(now()), body),)
        return cls(
            state=State.FAILED if isinstance(problem, Internal) else State.REJECTED,
            type=document["type"],
            body=body,
            content_type=wire.PROBLEM,
            final=not problem.retryable,
            events=events,
            error=problem.__cause__ or problem,
        )
