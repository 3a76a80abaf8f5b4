"""Hostile properties: each between two good requests gets one problem, has no effect, and touches nobody else."""

import json
import struct
import uuid

import pytest

from tests.hostile.bench import CREATE, Bench, MessageProperties, assert_answered, assert_dead, between_two_good
from tests.support import harness
from tests.support.marshalled import nested, short, table

NOT_UTF8 = short(b"xyzzy\xff")
LONG = "xyzzy" * 26_000

BAD_PROPERTIES: dict[str, tuple[str, MessageProperties]] = {
    "timestamp of 2^63": ("malformed", {"timestamp": struct.pack(">Q", 2**63)}),
    "correlation_id not UTF-8": ("malformed", {"correlation_id": NOT_UTF8}),
    "message_id not UTF-8": ("malformed", {"message_id": NOT_UTF8}),
    "content_type not UTF-8": ("malformed", {"content_type": NOT_UTF8}),
    "content_encoding not UTF-8": ("malformed", {"content_encoding": NOT_UTF8}),
    "app_id not UTF-8": ("malformed", {"app_id": NOT_UTF8}),
    "type not UTF-8": ("malformed", {"message_type": NOT_UTF8}),
    "header key not UTF-8": ("malformed", {"headers": table(NOT_UTF8 + b"V")}),
    "headers nested 3,000 deep": ("malformed", {"headers": nested(3000)}),
    "headers with a timestamp of 2^63": ("malformed", {"headers": table(short(b"at") + b"T" + b"\x80" + bytes(7))}),
    "gzip": ("unsupported-encoding", {"content_encoding": "gzip"}),
    "another content type": ("unsupported-encoding", {"content_type": "text/plain"}),
    "another charset": ("unsupported-encoding", {"content_type": "application/json; charset=latin-1"}),
    "partition key a number": ("invalid", {"headers": {"partition-key": 1}}),
    "dry-run no boolean": ("invalid", {"headers": {"dry-run": "true"}}),
    "deadline passed": ("deadline-exceeded", {"headers": {"deadline": "2020-01-01T00:00:00Z"}}),
    "deadline naive": ("invalid", {"headers": {"deadline": "2020-01-01T00:00:00"}}),
    "deadline now": ("invalid", {"headers": {"deadline": "now"}}),
    "deadline a number": ("invalid", {"headers": {"deadline": 10**12}}),
    "deadline before the year 1": ("invalid", {"headers": {"deadline": "0001-01-01T00:00:00+14:00"}}),
    "deadline after the year 9999": ("invalid", {"headers": {"deadline": "9999-12-31T23:59:59-14:00"}}),
}


@pytest.mark.parametrize(("expected", "pieces"), BAD_PROPERTIES.values(), ids=BAD_PROPERTIES)
async def test_a_bad_property_is_answered_with_a_problem(
    bench: Bench, expected: str, pieces: MessageProperties
) -> None:
    await assert_answered(bench, expected, "session.create", CREATE, pieces)


ODD_PROPERTIES: dict[str, MessageProperties] = {
    "traceparent of 130,000 bytes": {"headers": {"traceparent": LONG}},
    "any header of 130,000 bytes": {"headers": {"x": LONG}},
    "CC and BCC to nobody": {"headers": {"CC": ["nobody"], "BCC": ["nobody"]}},
    "x-death and x-delivery-count forged": {
        "headers": {"x-delivery-count": 99, "x-death": [{"reason": "expired", "count": 99, "queue": "db.writes.0"}]}
    },
    "content type in other case with a charset": {"content_type": 'Application/JSON; charset="UTF-8"'},
    "message_id empty": {"message_id": ""},
    "message_id of 255 bytes": {"message_id": "é" * 127 + "e"},
    "priority 255": {"priority": 255},
    "undecodable as a message from us would have it": {"cluster_id": b"\x00"},
}


@pytest.mark.parametrize("pieces", ODD_PROPERTIES.values(), ids=ODD_PROPERTIES)
async def test_an_odd_property_changes_nothing(bench: Bench, pieces: MessageProperties) -> None:
    await assert_answered(bench, "session.create", "session.create", CREATE, pieces, rows=1)


async def test_a_forged_death_does_not_make_an_unknown_operation_a_late_one(bench: Bench) -> None:
    forged = {"headers": {"x-death": [{"reason": "expired", "count": 1}]}}
    await assert_answered(bench, "unknown-operation", "session.divide", CREATE, forged)


@pytest.mark.parametrize("elsewhere", ["reads", "unrouted", "expired"])
async def test_a_write_that_is_copied_to_where_writes_are_not_served_is_applied_once(
    bench: Bench, elsewhere: str
) -> None:
    name, had = f"hostile {uuid.uuid4()}", await bench.rows()
    queues = [f"{bench.service.settings.service_name}.{queue}" for queue in ("writes.0", elsewhere)]
    pieces = {"correlation_id": name, "message_id": name, "reply_to": bench.address, "headers": {"CC": queues}}
    await bench.send("session.create", CREATE, pieces, exchange="")

    async def both() -> bool:
        return len(bench.replies.of(name)) == len(queues)

    await harness.eventually(both, "both copies are answered")
    other, answer = sorted(bench.replies.of(name), key=lambda reply: reply.kind == "session.create")
    assert answer.kind == "session.create"
    assert other.body == answer.body or json.loads(other.body)["retryable"]  # by which of them was there first
    assert await bench.rows() == had + 1


BAD_ADDRESSES = {
    "none": {},
    "empty": {"reply_to": ""},
    "not UTF-8": {"reply_to": NOT_UTF8},
}


@pytest.mark.parametrize("pieces", BAD_ADDRESSES.values(), ids=BAD_ADDRESSES)
async def test_a_bad_request_without_an_address_is_a_dead_letter(bench: Bench, pieces: MessageProperties) -> None:
    await assert_dead(bench, "malformed", "session.create", b'{"title": xyzzy}', pieces | {"message_id": "a"})


@pytest.mark.parametrize(
    "routing_key", [b"\xff", b"\xed\xa0\x80" * 85, b"\xed\xa0\x80" + "é".encode() * 126, b"\xff" * 255]
)
async def test_a_routing_key_that_is_no_text_ends_as_a_dead_letter(bench: Bench, routing_key: bytes) -> None:
    await assert_dead(bench, "unknown-operation", routing_key, CREATE, {"message_id": "a"})


@pytest.mark.parametrize("address", ["q|no-such-exchange", "a|b|c", "x" * 255, "\n\x1b[31m%s"])
async def test_a_bad_request_with_an_address_that_is_none_is_a_dead_letter(bench: Bench, address: str) -> None:
    await assert_dead(bench, "unanswered", "session.create", b'{"title": xyzzy}', {"reply_to": address})


@pytest.mark.parametrize("address", ["q|no-such-exchange", "a|b|c", "x" * 255, "é" * 127])
async def test_a_good_request_with_an_address_that_is_none_is_served(bench: Bench, address: str) -> None:
    letters = len(bench.letters.all)
    await between_two_good(bench, "session.create", CREATE, {"reply_to": address, "message_id": "b" + address[:9]}, 1)
    assert bench.letters.all[letters:] == []


@pytest.mark.parametrize("queue", ["writes.0", "reads", "unrouted", "expired"])
async def test_a_reply_to_the_services_own_queues_ends_as_a_dead_letter(bench: Bench, queue: str) -> None:
    letters, address = len(bench.letters.all), f"{bench.service.settings.service_name}.{queue}"
    await between_two_good(bench, "session.create", CREATE, {"reply_to": address, "message_id": address}, 1)
    await bench.letters.reach(lambda: len(bench.letters.all) > letters)
    await bench.fence()
    assert [letter.reason for letter in bench.letters.all[letters:]] == ["unknown-operation"]


@pytest.mark.parametrize(
    "message_id", ["nul\0", "new\nline\r\n", "'\"; DROP TABLE inbox; --", "🤖" * 60, "x" * 255, "%s%n", "\x1b[31m"]
)
async def test_a_message_id_of_any_characters_is_idempotent(bench: Bench, message_id: str) -> None:
    name, had = str(uuid.uuid4()), await bench.rows()
    pieces = {"correlation_id": name, "reply_to": bench.address, "message_id": message_id}
    for _ in range(3):
        await bench.send("session.create", CREATE, pieces)
    await bench.replies.reach(lambda: len(bench.replies.of(name)) == 3)
    await bench.send("session.create", b'{"title": "other"}', pieces)
    await bench.replies.reach(lambda: len(bench.replies.of(name)) == 4)
    *same, other = bench.replies.of(name)
    assert len({reply.body for reply in same}) == 1
    assert other.kind == "idempotency-key-reused"
    assert await bench.rows() == had + 1
