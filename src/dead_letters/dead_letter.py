"""A dead letter: what can be said of it, and the request that it becomes when it is sent again."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import aio_pika
import pydantic_core
from aio_pika.abc import AbstractIncomingMessage

from src import wire
from src.amqp.frames import UNDECODABLE
from src.clock import now
from src.errors import PREFIX, Problem

_IDS = uuid.UUID("e0a1f6c2-7f0c-5b8e-9a55-2f6f0b7d3c19")
_PROPERTIES = ("message_id", "correlation_id", "reply_to", "content_type", "content_encoding", "app_id", "user_id")
_SENT_AGAIN = (wire.PARTITION_KEY, wire.DRY_RUN, UNDECODABLE)
_UNPUBLISHED = "unpublished"  # of an earlier version: the change is committed, and an event of it was refused
_AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class DeadLetter:
    """One that is held, and not acked yet."""

    message: AbstractIncomingMessage

    @cached_property
    def properties(self) -> dict[str, Any]:
        given = {name: getattr(self.message, name) for name in _PROPERTIES}
        return {name: value for name, value in given.items() if value is not None}

    @cached_property
    def headers(self) -> dict[str, Any]:
        """Without those that the broker adds, which differ from one look to the next."""
        given: dict[str, Any] = dict(self.message.headers)
        return {name: value for name, value in sorted(given.items()) if not name.startswith("x-")}

    @cached_property
    def digest(self) -> bytes:
        return hashlib.sha256(repr((self.properties, self.headers)).encode() + b"\0" + self.message.body).digest()

    @property
    def id(self) -> str:
        """Short, and the same at each look. A message id would be neither unique nor always there."""
        return self.digest.hex()[:12]

    @property
    def operation(self) -> str:
        return str(self.headers.get(wire.OPERATION) or self.message.routing_key or "")

    @property
    def reason(self) -> str:
        return str(self.headers.get(wire.REASON, "?")).removeprefix(PREFIX)

    @property
    def size(self) -> int:
        """Bytes of the whole body, of which a dead letter may hold the beginning only."""
        return max(_count(self.headers.get(wire.SIZE)), len(self.message.body))

    @property
    def not_replayable(self) -> str | None:
        """Why it must not be sent again."""
        if self.reason == _UNPUBLISHED:
            return "its change stands already"
        return "it holds only the beginning of its body" if self.size > len(self.message.body) else None

    @property
    def uncertain(self) -> str | None:
        """Why it is sent again only where it is named: a requester that was told to ask again may have done so."""
        told = self.message.reply_to and self.reason in _retryable()
        return (
            "its change may stand already; its id sends it again" if told or self.reason == wire.KILLS_PROCESS else None
        )

    @property
    def line(self) -> str:
        """What ``dead list`` says of it."""
        named = "  ".join((self.reason, self.operation, str(self.message.message_id or "-")))
        return f"{self.id}  {_age(self.headers.get(wire.DIED_AT)):>7}  {self.size:>9}  {named}"

    @property
    def lines(self) -> list[str]:
        """All of it."""
        about = {"id": self.id, "operation": self.operation, **self.properties}
        about |= {f"header {name}": value for name, value in self.message.headers.items()}
        body = self.message.body.decode(errors="backslashreplace")
        return [
            *(f"{name}: {_text(value)}" for name, value in about.items()),
            "",
            *body.split("\n"),
        ]

    def again(self) -> aio_pika.Message:
        """The request anew, without a deadline; its id is the same however often this dead letter is sent."""
        message, number = self.message, _count(self.headers.get(wire.REPLAY)) + 1
        sender = self.headers.get(wire.SENDER, "")
        origin = f"{sender}\0{message.message_id}".encode() if message.message_id else self.digest
        headers = {name: self.headers[name] for name in _SENT_AGAIN if name in self.headers}
        return aio_pika.Message(
            message.body,
            headers=headers | {wire.REPLAY: number},
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            correlation_id=message.correlation_id,
            app_id=message.app_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=str(uuid.uuid5(_IDS, origin + b"\0%d" % number)),
        )


def _retryable(kind: type[Problem] = Problem) -> set[str]:
    """The problems that say so, by name."""
    own = {kind.name()} if kind.retryable else set()
    return own.union(*map(_retryable, kind.__subclasses__()))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return pydantic_core.to_json(value, fallback=repr, bytes_mode="base64").decode()
    except pydantic_core.PydanticSerializationError:  # nested too deep
        return repr(value)


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < wire.MOST_REPLAYS - 1 else 0


def _age(died_at: object) -> str:
    try:
        died = datetime.fromisoformat(died_at) if isinstance(died_at, str) else None
        seconds = int((now() - died).total_seconds()) if died else None
    except (ValueError, TypeError):  # no time, or one without an offset
        seconds = None
    if seconds is None:
        return "?"
    size, unit = next((each for each in _AGES if seconds >= each[0]), _AGES[-1])
    return f"{max(seconds, 0) // size} {unit}"
