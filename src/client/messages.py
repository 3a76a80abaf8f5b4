"""Requests, replies and events, and how each is written to and read from a message of AMQP."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import aio_pika
import pydantic_core
from aio_pika.abc import AbstractIncomingMessage

from .. import wire
from ..errors import PREFIX, Problem

LONGEST_KEY = 65_536  # bytes: a header that does not fit a frame would end the connection, and all that waits on it

LONGEST_TEXT = 255  # bytes of a message_id and of an operation: AMQP's short strings hold no more


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came, of success or of a problem (then ``content_type`` is ``wire.PROBLEM``)."""

    body: bytes
    type: str
    content_type: str
    correlation_id: str

    def answer(self) -> dict[str, Any]:
        """The body, parsed. Raises the Problem that it is."""
        document: dict[str, Any] = pydantic_core.from_json(self.body)
        if self.content_type == wire.PROBLEM:
            raise problem(document)
        return document


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. ``name`` is ``<entity>.<past tense>``, ``body`` the entity after it, ``time`` as in RFC 3339.

    An event may come more than once, always under the same ``id``. ``causation_id`` is the request's ``message_id``.
    """

    name: str
    id: str | None
    entity_version: int | None
    causation_id: str | None
    correlation_id: str | None
    time: str | None
    body: dict[str, Any]


class Options(TypedDict, total=False):
    """How a request is sent.

    ``message_id`` is the idempotency key (a random one where it is None), ``timeout`` in seconds (the client's where it
    is None). Requests of one ``partition_key`` are applied in the order they were sent. A ``dry_run`` is answered and
    leaves nothing behind.
    """

    message_id: str | None
    partition_key: str | uuid.UUID | None
    timeout: float | None
    dry_run: bool


def problem(document: Mapping[str, Any]) -> Problem:
    """The problem that the document describes, as its class; one of a type not known here is a plain Problem."""
    kinds = {PREFIX + kind.name(): kind for kind in Problem.__subclasses__()}
    kind = kinds.get(document.get("type", ""), Problem)
    found = kind(document.get("detail"), document.get("errors", ()))
    found.version = document.get("version")
    found.retry_after = document.get("retry_after")
    return found


def write_request(body: object, options: Options) -> aio_pika.Message:
    """The message that asks for it; where the reply goes is left to the caller. Raises ValueError."""
    if (message_id := options.get("message_id")) is not None and not 1 <= len(message_id.encode()) <= LONGEST_TEXT:
        raise ValueError(f"a message_id has 1 to {LONGEST_TEXT} bytes")
    headers: dict[str, Any] = {}
    if (key := options.get("partition_key")) is not None:
        headers[wire.PARTITION_KEY] = str(key)
        if len(str(key).encode()) > LONGEST_KEY:
            raise ValueError(f"a partition_key has up to {LONGEST_KEY} bytes")
    if options.get("dry_run"):
        headers[wire.DRY_RUN] = True
    return aio_pika.Message(
        pydantic_core.to_json({} if body is None else body),
        headers=headers,
        content_type=wire.JSON,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message_id or str(uuid.uuid4()),
    )


def read_reply(message: AbstractIncomingMessage) -> Reply:
    return Reply(message.body, message.type or "", message.content_type or "", message.correlation_id or "")


def read_event(message: AbstractIncomingMessage) -> Event | None:
    """The event; None where a stranger has published there what is none."""
    headers: dict[str, Any] = dict(message.headers)
    try:
        body = pydantic_core.from_json(message.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return None
    return Event(
        name=message.routing_key or "",
        id=message.message_id,
        entity_version=headers.get(wire.ENTITY_VERSION),
        causation_id=headers.get(wire.CAUSATION_ID),
        correlation_id=message.correlation_id,
        time=headers.get(wire.CLOUD_EVENT + "time"),
        body=body,
    )
