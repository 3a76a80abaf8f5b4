"""Bytes and properties → Request.

Nothing here trusts a message. Whatever is wrong with one is the problem that its requester is told.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from src import __version__, json_values, wire
from src.amqp.frames import UNDECODABLE, Delivery, Properties
from src.contract import suggestions
from src.errors import (
    IdempotencyKeyRequired,
    Internal,
    Invalid,
    Malformed,
    Problem,
    TooLarge,
    UnknownOperation,
    UnsupportedEncoding,
)
from src.processing.request import Decodable, Outcome, RejectedRequest, Request, inbox_key

MOST_ERRORS = 20  # that a problem lists
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, level 1
_CONTENT_TYPE = re.compile(r'application/json(\s*;\s*charset="?utf-?8"?)?', re.IGNORECASE)
_CHARSET = re.compile(r"utf-?8|us-ascii|binary|identity", re.IGNORECASE)  # what Spring AMQP and kombu call an encoding


@dataclass(slots=True)
class Received[O: Decodable]:
    """A delivery: who asked for what, and how to reach them."""

    delivery: Delivery
    operation: O | None
    request: Request[O] | RejectedRequest

    @property
    def properties(self) -> Properties:
        return self.delivery.properties

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.delivery.headers

    @property
    def sender(self) -> str:
        return self.properties.user_id or ""

    @property
    def reply_to(self) -> str | None:
        return self.properties.reply_to or None

    @property
    def direct(self) -> bool:
        """The requester waits on RabbitMQ's direct reply-to, which returns what it delivers."""
        return (self.reply_to or "").startswith(wire.DIRECT_REPLY_TO)

    @property
    def correlation_id(self) -> str | None:
        return self.properties.correlation_id or self.properties.message_id or None

    @property
    def may_write(self) -> bool:
        """It would change something; what is not known may have been a write."""
        return self.operation is None or self.operation.writes

    @property
    def unkeyed(self) -> bool:
        """It is applied at least once, for nothing says which other is the same."""
        return isinstance(self.request, Request) and self.request.key is None and not self.request.dry_run

    @property
    def traceparent(self) -> str | None:
        value = self.headers.get(wire.TRACEPARENT)
        return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None

    @property
    def traits(self) -> dict[str, str]:
        """By what a line of the log tells it from others; never what its body says."""
        known = {
            "operation": self.delivery.routing_key,
            "message_id": self.properties.message_id,
            "correlation_id": self.properties.correlation_id,
            "trace_id": self.traceparent and self.traceparent.split("-")[1],
        }
        return {name: value for name, value in known.items() if value}


class Decoder[O: Decodable]:
    """Decodes deliveries. ``operations`` are those of this version by routing key, ``max_body`` is in bytes."""

    def __init__(self, operations: Mapping[str, O], max_body: int, *, require_message_id: bool) -> None:
        self._operations = operations
        self._max_body = max_body
        self._require_message_id = require_message_id

    def only(self, *, writes: bool) -> "Decoder[O]":
        """One for a queue of writes, or of reads: the other kind was led there by its sender, not by us."""
        operations = {key: operation for key, operation in self._operations.items() if operation.writes == writes}
        return Decoder(operations, self._max_body, require_message_id=self._require_message_id)

    def knows(self, delivery: Delivery) -> bool:
        """Whether it asks for one of the operations."""
        return delivery.routing_key in self._operations

    def decode(self, delivery: Delivery) -> Received[O]:
        """The request that a delivery holds, or the refusal that tells its sender why it holds none."""
        operation = self._operations.get(delivery.routing_key)
        if operation is None:
            return self.refuse(delivery, UnknownOperation())
        try:
            return Received(delivery, operation, self._request(operation, delivery))
        except Problem as problem:
            return self.refuse(delivery, problem)
        except Exception as bug:  # of ours, in what reads a stranger's bytes: it must cost that one message only
            return self.refuse(delivery, Internal.because(bug))

    def refuse(self, delivery: Delivery, problem: Problem) -> Received[O]:
        """A delivery that is not to be served, whatever its body says."""
        operation = self._operations.get(delivery.routing_key)
        if isinstance(problem, UnknownOperation):
            asked = delivery.routing_key
            problem = UnknownOperation.named(asked, suggestions.operations(asked, self._operations), __version__)
        outcome = Outcome.of(problem, operation)
        if delivery.headers.get(wire.DRY_RUN) or delivery.size > len(delivery.body):
            return Received(delivery, operation, RejectedRequest(outcome))
        return Received(
            delivery, operation, RejectedRequest(outcome, _key(delivery.properties), _fingerprint(delivery))
        )

    def _request(self, operation: O, delivery: Delivery) -> Request[O]:
        self._check_form(delivery)
        properties, headers = delivery.properties, delivery.headers
        data, dry_run = _decoded(operation, delivery.body, self._max_body), _dry_run(headers)
        keyed = operation.writes and bool(properties.message_id) and not dry_run
        if operation.writes and not properties.message_id and self._require_message_id:
            raise IdempotencyKeyRequired
        return Request(
            operation,
            data,
            key=_key(properties) if keyed else None,
            fingerprint=_fingerprint(delivery) if keyed else b"",
            deadline=_deadline(headers),
            dry_run=dry_run,
        )

    def _check_form(self, delivery: Delivery) -> None:
        """Raise the Problem that a message is which need not be read to be refused."""
        properties, headers = delivery.properties, delivery.headers
        if UNDECODABLE in headers:
            raise Malformed("The message has properties that are no valid AMQP.")
        if delivery.size > self._max_body:
            raise TooLarge(f"The body has {delivery.size} bytes; this service takes {self._max_body}.")
        if not _CHARSET.fullmatch(properties.content_encoding or "utf-8"):
            raise UnsupportedEncoding
        if not _CONTENT_TYPE.fullmatch(properties.content_type or wire.JSON):
            raise UnsupportedEncoding
        if not isinstance(headers.get(wire.PARTITION_KEY, ""), str):
            raise Invalid(f"The header {wire.PARTITION_KEY} must be a string; a number hashes elsewhere.")


def died(delivery: Delivery) -> object:
    """Why the broker has moved it here from another queue: it puts the last death first. A sender may forge it."""
    deaths = delivery.headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    return last.get("reason") if isinstance(last, dict) else None


def _key(properties: Properties) -> bytes | None:
    """None where there is no ``message_id``."""
    return inbox_key(properties.user_id or "", properties.message_id) if properties.message_id else None


def _fingerprint(delivery: Delivery) -> bytes:
    head = f"{delivery.routing_key}\0{delivery.properties.content_type or ''}\0"
    return hashlib.sha256(head.encode() + delivery.body).digest()


def _decoded(operation: Decodable, body: bytes, max_body: int) -> BaseModel:
    """The body as the operation's schema has it. Raises Malformed, TooLarge and Invalid, which never quote a value."""
    json_values.check(body, max_body)
    try:
        return operation.request.model_validate_json(body)
    except ValidationError as error:
        entries = error.errors(include_url=False, include_input=False, include_context=False)
        detail = f"The request does not fit the operation's schema in {len(entries)} place(s)."
        raise Invalid(detail, [_pointed(entry) for entry in entries[:MOST_ERRORS]]) from None


def _pointed(entry: Any) -> dict[str, str]:
    """RFC 6901 where, and what pydantic says of it; a key that the schema does not know is cut to a sane length."""
    pointer = "".join(f"/{json_values.pointer_step(step)}" for step in entry["loc"])
    return {"pointer": pointer, "message": entry["msg"]}


def _deadline(headers: Mapping[str, Any]) -> datetime | None:
    """RFC 3339 text with an offset, or an AMQP timestamp."""
    value = headers.get(wire.DEADLINE)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, datetime) and moment.tzinfo:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Invalid(f"The header {wire.DEADLINE} must be an RFC 3339 date and time with an offset.")


def _dry_run(headers: Mapping[str, Any]) -> bool:
    value = headers.get(wire.DRY_RUN, False)
    if not isinstance(value, bool):
        raise Invalid(f"The header {wire.DRY_RUN} must be a boolean.")
    return value
