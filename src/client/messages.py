"""Requests, replies and events, and their conversion to and from AMQP messages."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import aio_pika
import pydantic_core
from aio_pika.abc import AbstractIncomingMessage

from .. import wire
from ..errors import PREFIX, Problem

LONGEST_KEY = 65_536  # bytes: the broker closes the connection when a header does not fit into a frame
LONGEST_TEXT = 255  # bytes: a message_id and a routing key are AMQP short strings


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a request. ``content_type`` is ``wire.PROBLEM`` if the request failed."""

    body: bytes
    type: str
    content_type: str
    correlation_id: str

    def answer(self) -> dict[str, Any]:
        """Return the parsed body. Raises the Problem of a failed request."""
        document: dict[str, Any] = pydantic_core.from_json(self.body)
        if self.content_type == wire.PROBLEM:
            raise problem(document)
        return document


@dataclass(frozen=True, slots=True)
class Event:
    """An event named ``<entity>.<past tense>``. ``body`` is the changed entity, ``time`` is as in RFC 3339.

    An event may arrive more than once, always with the same ``id``. ``causation_id`` is the request's ``message_id``.
    """

    name: str
    id: str | None
    entity_version: int | None
    causation_id: str | None
    correlation_id: str | None
    time: str | None
    body: dict[str, Any]


class Options(TypedDict, total=False):
    """Options of a request.

    ``message_id`` is the idempotency key (None: a random one). ``timeout`` is in seconds (None: the client's). Requests
    with one ``partition_key`` are applied in the order in which they were sent. A ``dry_run`` gets its reply and has no
    effect.
    """

    message_id: str | None
    partition_key: str | uuid.UUID | None
    timeout: float | None
    dry_run: bool


def problem(document: Mapping[str, Any]) -> Problem:
    """Return an instance of the class of the document's type, or of Problem if the type is unknown."""
    kinds = {PREFIX + kind.name(): kind for kind in Problem.__subclasses__()}
    kind = kinds.get(document.get("type", ""), Problem)
    found = kind(document.get("detail"), document.get("errors", ()))
    found.version = document.get("version")
    found.retry_after = document.get("retry_after")
    return found


def write_request(body: object, options: Options) -> aio_pika.Message:
    """Return the message of a request, without ``reply_to``. Raises ValueError if an option is too long."""
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
    """Return the event, or None if the message is not an event."""
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
