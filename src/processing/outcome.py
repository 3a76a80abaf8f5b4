"""The outcome of a request: a state, the reply's bytes and the events. Independent of AMQP and SQL.

The dataclasses are not frozen, though nothing changes them: one of each is made for every message, and a frozen one
takes three times as long to make.
"""

from dataclasses import dataclass, field
from enum import Enum

import pydantic_core

from src import wire
from src.clock import now, timestamp
from src.errors import Internal, Problem


@dataclass(slots=True)
class Event:
    """A change of one row, or a rejected write. ``body`` is the row after the change, or the problem document."""

    name: str
    subject: str
    version: int | None
    time: str
    body: bytes


class State(Enum):
    """The state of an outcome; ``consumers/dead_letter.py`` decides by it about dead letters."""

    SERVED = 1  # the numbers are stored
    REJECTED = 2  # by a problem of the request
    FAILED = 3  # by a fault of the service
    DEADLY = 4  # the request has killed the process


@dataclass(slots=True)
class Outcome:
    """The reply to a request, as bytes, and its events. The inbox stores an outcome that is ``final``."""

    state: State
    type: str
    body: bytes
    content_type: str = wire.JSON
    final: bool = True
    events: tuple[Event, ...] = ()
    error: BaseException | None = field(default=None, compare=False)

    @classmethod
    def of(cls, problem: Problem, failed_event: str | None = None, subject: str = "") -> "Outcome":
        """Return the outcome of a problem. ``failed_event`` is the routing key of a final problem's event, if any."""
        document = problem.document()
        body = pydantic_core.to_json(document)
        events: tuple[Event, ...] = ()
        if failed_event and not problem.retryable:
            events = (Event(failed_event, subject, None, timestamp(now()), body),)
        return cls(
            state=State.FAILED if isinstance(problem, Internal) else State.REJECTED,
            type=document["type"],
            body=body,
            content_type=wire.PROBLEM,
            final=not problem.retryable,
            events=events,
            error=problem.__cause__ or problem,
        )
