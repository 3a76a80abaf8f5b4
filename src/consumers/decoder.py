"""Bytes and properties → Request.

Nothing here trusts a message. Whatever is wrong with a message is a problem that its requester is told.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from src import __version__, json_values, wire
from src.amqp.frames import UNDECODABLE, Delivery, Properties
from src.consumers.messages import Received
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
from src.processing.outcome import Outcome
from src.processing.request import Decodable, RejectedRequest, Request, inbox_key

MOST_ERRORS = 20  # errors that a problem lists
_CONTENT_TYPE = re.compile(r'application/json(\s*;\s*charset="?utf-?8"?)?', re.IGNORECASE)
_CHARSET = re.compile(r"utf-?8|us-ascii|binary|identity", re.IGNORECASE)  # what Spring AMQP and kombu call an encoding


class Decoder[O: Decodable]:
    """Decodes deliveries. ``operations`` are those of this version by routing key, ``max_body`` is in bytes."""

    def __init__(self, operations: Mapping[str, O], max_body: int, *, require_message_id: bool) -> None:
        self._operations = operations
        self._max_body = max_body
        self._require_message_id = require_message_id

    def only(self, *, writes: bool) -> "Decoder[O]":
        """Return a decoder for a queue of writes, or of reads: only a sender can lead the other kind there."""
        operations = {key: operation for key, operation in self._operations.items() if operation.writes == writes}
        return Decoder(operations, self._max_body, require_message_id=self._require_message_id)

    def knows(self, delivery: Delivery) -> bool:
        """Return whether the delivery asks for one of the operations."""
        return delivery.routing_key in self._operations

    def decode(self, delivery: Delivery) -> Received[O]:
        """Return the request that the delivery holds, or a rejected request with the problem."""
        operation = self._operations.get(delivery.routing_key)
        if operation is None:
            return self.reject(delivery, UnknownOperation())
        try:
            return Received(delivery, operation, self._request(operation, delivery))
        except Problem as problem:
            return self.reject(delivery, problem)
        except Exception as bug:  # in this decoder: it must cost no other message
            return self.reject(delivery, Internal.because(bug))

    def reject(self, delivery: Delivery, problem: Problem) -> Received[O]:
        """Return a rejected request, without reading the body."""
        operation = self._operations.get(delivery.routing_key)
        if isinstance(problem, UnknownOperation):
            asked = delivery.routing_key
            problem = UnknownOperation.named(asked, suggestions.operations(asked, self._operations), __version__)
        outcome = Outcome.of(problem, operation.failed_event if operation else None)
        if delivery.headers.get(wire.DRY_RUN) or delivery.size > len(delivery.body):
            return Received(delivery, operation, RejectedRequest(outcome))
        return Received(
            delivery, operation, RejectedRequest(outcome, _key(delivery.properties), _fingerprint(delivery))
        )

    def _request(self, operation: O, delivery: Delivery) -> Request[O]:
        properties, headers = delivery.properties, delivery.properties.headers or {}
        self._check_form(delivery, headers)
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

    def _check_form(self, delivery: Delivery, headers: Mapping[str, Any]) -> None:
        """Raise a Problem where the properties or the size of the message are wrong."""
        properties = delivery.properties
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


def dead_letter_reason(delivery: Delivery) -> object:
    """Return the reason of the newest ``x-death`` entry, the broker's for moving it here. A sender may forge it."""
    deaths = delivery.headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    return last.get("reason") if isinstance(last, dict) else None


def _key(properties: Properties) -> bytes | None:
    """Return the key of the inbox, or None where there is no ``message_id``."""
    return inbox_key(properties.user_id or "", properties.message_id) if properties.message_id else None


def _fingerprint(delivery: Delivery) -> bytes:
    head = f"{delivery.routing_key}\0{delivery.properties.content_type or ''}\0"
    return hashlib.sha256(head.encode() + delivery.body).digest()


def _decoded(operation: Decodable, body: bytes, max_body: int) -> BaseModel:
    """Return the body as the operation's schema has it. Raises Malformed, TooLarge or Invalid, without values."""
    json_values.check(body, max_body)
    try:
        return operation.request.model_validate_json(body)
    except ValidationError as error:
        entries = error.errors(include_url=False, include_input=False, include_context=False)
        detail = f"The request does not fit the operation's schema in {len(entries)} place(s)."
        raise Invalid(detail, [_pointed(entry) for entry in entries[:MOST_ERRORS]]) from None


def _pointed(entry: Any) -> dict[str, str]:
    """Return an error as a JSON pointer (RFC 6901) and the message of pydantic."""
    pointer = "".join(f"/{json_values.pointer_step(step)}" for step in entry["loc"])
    return {"pointer": pointer, "message": entry["msg"]}


def _deadline(headers: Mapping[str, Any]) -> datetime | None:
    """Return the deadline in UTC: the header is RFC 3339 text with an offset, or an AMQP timestamp."""
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
