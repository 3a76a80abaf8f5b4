"""What goes out fits the broker's frames, whatever came in. No broker is needed."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src import errors, wire
from src.amqp import encoding
from src.amqp.frames import UNDECODABLE, Delivery, Message, Properties
from src.consumers import dead_letter
from src.consumers.decoder import Decoder
from src.consumers.messages import Received, Settled, parked
from src.models import entities
from src.processing.outcome import Event, Outcome, State

SMALLEST = 4096
"""Bytes of the smallest frame that AMQP 0-9-1 lets two peers agree on."""
NAMES = wire.Names("n" * 60)
OPERATIONS = {operation.key: operation for entity in entities() for operation in entity.operations()}
LONGEST = max(OPERATIONS, key=len)


def short(data: str) -> str:
    """As much of a text as fits a short string."""
    return data.encode(errors="ignore")[:255].decode(errors="ignore")


TEXTS = st.text(max_size=255).map(short) | st.just("é" * 127) | st.just("x" * 255)
LONG_TEXTS = st.text() | st.sampled_from(["é" * 3000, "🤖" * 999, "x" * 5000, "\ud800" * 999])


@dataclass
class Hostile:
    """Everything that a requester writes."""

    routing_key: str
    string: str
    partition_key: str
    detail: str


HOSTILE = st.builds(Hostile, TEXTS | st.sampled_from([*OPERATIONS]), TEXTS, LONG_TEXTS, LONG_TEXTS)
WORST = Hostile("é" * 127, "é" * 127, "é" * 500, "é" * 5000)


def received(hostile: Hostile, more: dict[str, Any]) -> Received[Any]:
    strings: dict[str, Any] = dict.fromkeys(
        ("content_type", "content_encoding", "correlation_id", "reply_to"), hostile.string
    )
    headers = {
        "partition-key": hostile.partition_key,
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "x": "y" * 9999,
    } | more
    ids: dict[str, Any] = dict.fromkeys(("message_id", "message_type", "user_id", "app_id"), hostile.string)
    delivery = Delivery(1, hostile.routing_key, Properties(**strings, **ids, headers=headers), b"{", 2**62)
    return Decoder(OPERATIONS, 1024, require_message_id=False).decode(delivery)


def outcomes(detail: str) -> Iterator[Outcome]:
    event = Event(f"{LONGEST}.failed", "i" * 36, 2**31, "2026-01-01T00:00:00.000000Z", b"{}")
    for state in State:
        yield Outcome(state, f"{errors.PREFIX}{'p' * 40}", b"{}", wire.PROBLEM, True, (event,), RuntimeError(detail))


def messages(hostile: Hostile) -> Iterator[Message]:
    copied = {wire.DRY_RUN: True, wire.REPLAY: 2**31 - 1, UNDECODABLE: "x" * 999}
    for more, outcome in itertools.product(({}, copied), outcomes(hostile.detail)):
        settled = Settled(received(hostile, more), outcome)
        events = settled.events(NAMES)
        reasons = filter(None, (dead_letter.reason(settled, replied=replied) for replied in (True, False)))
        letters = [dead_letter.message(settled, reason, NAMES) for reason in reasons]
        yield from filter(None, [settled.reply(), *events, *(parked(event, NAMES) for event in events), *letters])


def written(message: Message) -> Sequence[bytes]:
    """The method's frame and the header's."""
    header = encoding.content(1, message.properties, b"", SMALLEST)
    return [encoding.publish(1, message.exchange, message.routing_key, message.mandatory), b"".join(header)]


@given(HOSTILE)
@example(WORST)
def test_whatever_a_request_holds_what_tells_of_it_fits_the_smallest_frame(hostile: Hostile) -> None:
    for message in messages(hostile):
        for frame in written(message):
            assert len(frame) <= SMALLEST


@pytest.mark.parametrize(("key", "copied"), [("é" * 400, "é" * 400), ("é" * 401, None), ("é" * 5000, None)])
def test_a_partition_key_is_copied_whole_or_not_at_all(key: str, copied: str | None) -> None:
    letters = [message for message in messages(Hostile("a", "b", key, "c")) if message.exchange == NAMES.dead]
    assert {(letter.properties.headers or {}).get(wire.PARTITION_KEY) for letter in letters} == {copied}


@pytest.mark.parametrize(("subject", "written_as"), [("", None), ("row", "row")])
def test_an_event_without_a_row_has_no_subject(subject: str, written_as: str | None) -> None:
    event = Event("session.create.failed", subject, None, "2026-01-01T00:00:00.000000Z", b"{}")
    outcome = Outcome(State.REJECTED, "x", b"{}", wire.PROBLEM, events=(event,))
    (message,) = Settled(received(WORST, {}), outcome).events(NAMES)
    assert (message.properties.headers or {}).get(f"{wire.CLOUD_EVENT}subject") == written_as


@given(HOSTILE)
def test_no_attribute_of_an_event_is_empty(hostile: Hostile) -> None:
    """CloudEvents 1.0: every attribute that is present is a non-empty string."""
    for message in messages(hostile):
        headers = message.properties.headers or {}
        attributes = {name: value for name, value in headers.items() if name.startswith(wire.CLOUD_EVENT)}
        assert all(attributes.values()), attributes
