"""Requests that mean harm, each between two that do not: one problem, no effect, nobody else is touched.

What a client library refuses to send is marshalled here by hand.
"""

import asyncio
import json
import logging
import signal
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiormq
import pytest
import pytest_asyncio
from aio_pika import Message
from aiormq.abc import AbstractConnection, ChannelFrame, DeliveredMessage, FrameType
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.header import ContentHeader

import config
from src import errors, wire
from src.client import Client
from src.service import Service
from tests import harness, requester
from tests.harness import Process
from tests.test_frames import nested, payload, short, table

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 20  # seconds
SECRET = "xyzzy"
"""Is in every hostile payload, and must be in no log record."""
MEBIBYTE = 1024 * 1024

type Pieces = dict[str, Any]


class Header(ContentHeader):
    """A content header of whatever bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def marshal(self) -> bytes:
        return self._data


class Publish(Basic.Publish):
    """To a routing key of whatever bytes."""

    def __init__(self, exchange: str, routing_key: bytes) -> None:
        super().__init__(exchange=exchange)
        self._key = routing_key

    def marshal(self) -> bytes:
        return super().marshal()[:-2] + short(self._key) + b"\0"


class Arrivals:
    """Messages, in the order of their arrival."""

    def __init__(self) -> None:
        self.all: list[DeliveredMessage] = []
        self._changed = asyncio.Condition()

    async def add(self, message: DeliveredMessage) -> None:
        async with self._changed:
            self.all.append(message)
            self._changed.notify_all()

    def of(self, correlation_id: str) -> list[DeliveredMessage]:
        return [m for m in self.all if m.header.properties.correlation_id == correlation_id]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)


@dataclass
class Bench:
    """The service in this process, a raw connection beside it, and what the service has sent to whom."""

    settings: config.Settings
    service: Service
    connection: AbstractConnection
    channel: Channel
    url: str
    client: Client
    address: str = ""
    replies: Arrivals = field(default_factory=Arrivals)
    letters: Arrivals = field(default_factory=Arrivals)

    async def listen(self) -> None:
        self.address = await self._queue(self.replies)
        letters = await self._queue(self.letters)
        await self.channel.queue_bind(letters, harness.names(self.settings).dead)

    async def _queue(self, arrivals: Arrivals) -> str:
        queue = str((await self.channel.queue_declare(exclusive=True)).queue)
        await self.channel.basic_consume(queue, arrivals.add, no_ack=True)
        return queue

    async def send(
        self, operation: str | bytes, body: bytes, pieces: Mapping[str, Any] | None = None, exchange: str | None = None
    ) -> None:
        """Publish, with the properties given: bytes go out as they are."""
        exchange = harness.names(self.settings).requests if exchange is None else exchange
        marshalled = {
            name: value if isinstance(value, bytes) else Basic.Properties().encode_property(name, value)
            for name, value in (pieces or {}).items()
        }
        frames: list[FrameType] = [
            Publish(exchange, operation.encode() if isinstance(operation, str) else operation),
            Header(payload(marshalled, len(body))),
            *self.channel._split_body(body),
        ]
        await self.connection.write_queue.put(ChannelFrame.marshall(self.channel.number, frames))

    async def good(self) -> str:
        """A good request's correlation id; its answer is known by it."""
        name = str(uuid.uuid4())
        pieces = {"correlation_id": name, "message_id": name, "reply_to": self.address}
        await self.send("session.create", b'{"title": "good"}', pieces)
        return name

    async def rows(self) -> int:
        tables = "(SELECT count(*) FROM sessions) + (SELECT count(*) FROM users) + (SELECT count(*) FROM queries)"
        return int((await harness.fetch(self.url, f"SELECT {tables}"))[0][0])

    async def answer(self, name: str) -> DeliveredMessage:
        """The one reply to the request of this correlation id; a second one would come before later ones."""
        await self.replies.until(lambda: self.replies.of(name))
        (reply,) = self.replies.of(name)
        return reply

    async def fence(self) -> None:
        """Return when all that was sent before has been answered, by writes, reads and the unrouted."""
        for operation, body in (("session.create", b"{}"), ("session.count", b"{}"), ("nothing.known", b"{}")):
            name = f"fence {uuid.uuid4()}"
            await self.send(operation, body, {"correlation_id": name, "reply_to": self.address, "message_id": name})
            await self.answer(name)

    def transports(self) -> list[object]:
        ends = (self.service.broker._connection, self.service.outbound._connection)
        return [end.transport.connection for end in ends if end and end.transport]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(postgres_url: str, template: str, rabbitmq_url: str) -> AsyncIterator[Bench]:
    """One service for the whole file: what the others have done to it is part of the trial."""
    async with harness.isolated(postgres_url, template, rabbitmq_url) as settings, harness.running(settings) as service:
        connection = await aiormq.connect(rabbitmq_url)
        url = settings.dsn
        async with harness.connected(settings) as client:
            channel = await connection.channel(publisher_confirms=False)
            assert isinstance(channel, Channel)
            made = Bench(settings, service, connection, channel, url, client)
            await made.listen()
            yield made
        await connection.close()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def untouched(bench: Bench, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """After each test the good are served over the same connections, and the log has told nothing."""
    assert bench.service.failure is None
    caplog.set_level(logging.INFO)
    before = bench.transports()
    yield
    await bench.fence()
    assert bench.service.failure is None
    assert bench.transports() == before
    for record in caplog.records:
        assert "\n" not in record.getMessage()
        assert SECRET not in record.getMessage()
        assert "consuming" not in record.getMessage()
        assert record.exc_info is None


def kind(message: DeliveredMessage) -> str:
    return str(message.header.properties.message_type).removeprefix(errors.PREFIX)


def reason(message: DeliveredMessage) -> str:
    return str((message.header.properties.headers or {}).get(wire.REASON)).removeprefix(errors.PREFIX)


async def between_two_good(bench: Bench, operation: str | bytes, body: bytes, pieces: Pieces, rows: int = 0) -> None:
    """Send it between two good requests, which are served, and find so many rows of it."""
    had, first = await bench.rows(), await bench.good()
    await bench.send(operation, body, pieces)
    second = await bench.good()
    for name in (first, second):
        assert kind(await bench.answer(name)) == "session.create"
    await bench.fence()
    assert await bench.rows() == had + 2 + 1 + rows  # the fence makes one


async def assert_answered(
    bench: Bench, expected: str, operation: str, body: bytes, pieces: Pieces | None = None, rows: int = 0
) -> dict[str, Any]:
    """It gets one answer of the expected kind, and there is no dead letter."""
    name, letters = f"hostile {uuid.uuid4()}", len(bench.letters.all)
    pieces = {"correlation_id": name, "message_id": name, "reply_to": bench.address} | (pieces or {})
    await between_two_good(bench, operation, body, pieces, rows)
    replies = [reply for reply in bench.replies.all if _is_of(reply, name, pieces)]
    assert [kind(reply) for reply in replies] == [expected]
    assert len(bench.letters.all) == letters
    assert len(replies[0].body) < MEBIBYTE
    return dict(json.loads(replies[0].body))


def _is_of(reply: DeliveredMessage, name: str, pieces: Pieces) -> bool:
    """A reply whose request's correlation id is undecodable has its message id, or none."""
    given = pieces["correlation_id"] if isinstance(pieces["correlation_id"], str) else name
    return reply.header.properties.correlation_id == given


async def assert_dead(bench: Bench, expected: str, operation: str | bytes, body: bytes, pieces: Pieces) -> None:
    """It cannot be answered, so it becomes one dead letter that says why."""
    letters = len(bench.letters.all)
    await between_two_good(bench, operation, body, pieces)
    assert [reason(letter) for letter in bench.letters.all[letters:]] == [expected]
    assert bench.letters.all[-1].body == body


CREATE = b'{"title": "xyzzy"}'
NOT_UTF8 = short(b"xyzzy\xff")
LONG = "xyzzy" * 26_000

BAD_PROPERTIES: dict[str, tuple[str, Pieces]] = {
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
async def test_a_bad_property_is_answered_with_a_problem(bench: Bench, expected: str, pieces: Pieces) -> None:
    await assert_answered(bench, expected, "session.create", CREATE, pieces)


ODD_PROPERTIES: dict[str, Pieces] = {
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
async def test_an_odd_property_changes_nothing(bench: Bench, pieces: Pieces) -> None:
    await assert_answered(bench, "session.create", "session.create", CREATE, pieces, rows=1)


async def test_a_forged_death_does_not_make_an_unknown_operation_a_late_one(bench: Bench) -> None:
    forged = {"headers": {"x-death": [{"reason": "expired", "count": 1}]}}
    await assert_answered(bench, "unknown-operation", "session.divide", CREATE, forged)


@pytest.mark.parametrize("elsewhere", ["reads", "unrouted"])
async def test_a_write_that_is_copied_to_where_writes_are_not_served_is_applied_once(
    bench: Bench, elsewhere: str
) -> None:
    name, had = f"hostile {uuid.uuid4()}", await bench.rows()
    queues = [f"{bench.settings.service_name}.{queue}" for queue in ("writes.0", elsewhere)]
    pieces = {"correlation_id": name, "message_id": name, "reply_to": bench.address, "headers": {"CC": queues}}
    await bench.send("session.create", CREATE, pieces, exchange="")
    await bench.fence()
    problem, answer = sorted(bench.replies.of(name), key=lambda reply: kind(reply) == "session.create")
    assert kind(answer) == "session.create"
    assert json.loads(problem.body)["retryable"]
    assert await bench.rows() == had + 2


BAD_ADDRESSES = {
    "none": {},
    "empty": {"reply_to": ""},
    "not UTF-8": {"reply_to": NOT_UTF8},
}


@pytest.mark.parametrize("pieces", BAD_ADDRESSES.values(), ids=BAD_ADDRESSES)
async def test_a_bad_request_without_an_address_is_a_dead_letter(bench: Bench, pieces: Pieces) -> None:
    await assert_dead(bench, "malformed", "session.create", b'{"title": xyzzy}', pieces | {"message_id": "a"})


@pytest.mark.parametrize(
    "routing_key", [b"\xff", b"\xed\xa0\x80" * 85, b"\xed\xa0\x80" + "é".encode() * 126, b"\xff" * 255]
)
async def test_a_routing_key_that_is_no_text_ends_as_a_dead_letter(bench: Bench, routing_key: bytes) -> None:
    await assert_dead(bench, "unknown-operation", routing_key, CREATE, {"message_id": "a"})


async def test_a_forged_direct_reply_to_stops_nobody(settings: config.Settings) -> None:
    """The broker closes the connection that publishes a reply to it."""
    forged = "amq.rabbitmq.reply-to.AAAA.BBBB"
    async with harness.running(settings), requester.asking(settings) as db:
        for operation in ("session.create", "session.count"):
            await db.publish(operation, {}, "forged", reply_to=forged)
            assert (await db.ask(operation)).problem is None
        assert (await db.ask("session.create", {}, "forged")).problem is None
        assert (await db.ask("session.count")).document == {"count": 2}


@pytest.mark.parametrize("address", ["q|no-such-exchange", "a|b|c", "x" * 255, "\n\x1b[31m%s"])
async def test_a_bad_request_with_an_address_that_is_none_is_a_dead_letter(bench: Bench, address: str) -> None:
    await assert_dead(bench, "unanswered", "session.create", b'{"title": xyzzy}', {"reply_to": address})


@pytest.mark.parametrize("address", ["q|no-such-exchange", "a|b|c", "x" * 255, "é" * 127])
async def test_a_good_request_with_an_address_that_is_none_is_served(bench: Bench, address: str) -> None:
    letters = len(bench.letters.all)
    await between_two_good(bench, "session.create", CREATE, {"reply_to": address, "message_id": "b" + address[:9]}, 1)
    assert bench.letters.all[letters:] == []


@pytest.mark.parametrize("queue", ["writes.0", "reads", "unrouted"])
async def test_a_reply_to_the_services_own_queues_ends_as_a_dead_letter(bench: Bench, queue: str) -> None:
    letters, address = len(bench.letters.all), f"{bench.settings.service_name}.{queue}"
    await between_two_good(bench, "session.create", CREATE, {"reply_to": address, "message_id": address}, 1)
    await bench.letters.until(lambda: len(bench.letters.all) > letters)
    await bench.fence()
    assert [reason(letter) for letter in bench.letters.all[letters:]] == ["unknown-operation"]


@pytest.mark.parametrize(
    "message_id", ["nul\0", "new\nline\r\n", "'\"; DROP TABLE inbox; --", "🤖" * 60, "x" * 255, "%s%n", "\x1b[31m"]
)
async def test_a_message_id_of_any_characters_is_idempotent(bench: Bench, message_id: str) -> None:
    name, had = str(uuid.uuid4()), await bench.rows()
    pieces = {"correlation_id": name, "reply_to": bench.address, "message_id": message_id}
    for _ in range(3):
        await bench.send("session.create", CREATE, pieces)
    await bench.replies.until(lambda: len(bench.replies.of(name)) == 3)
    await bench.send("session.create", b'{"title": "other"}', pieces)
    await bench.replies.until(lambda: len(bench.replies.of(name)) == 4)
    *same, other = bench.replies.of(name)
    assert len({reply.body for reply in same}) == 1
    assert kind(other) == "idempotency-key-reused"
    assert await bench.rows() == had + 1


def created(value: str) -> bytes:
    """A session whose metadata is this JSON."""
    return f'{{"title": "xyzzy", "metadata": {value}}}'.encode()


BAD_BODIES: dict[str, tuple[str, bytes]] = {
    "empty": ("malformed", b""),
    "null": ("malformed", b"null"),
    "an array": ("malformed", b"[]"),
    "a string": ("malformed", b'"xyzzy"'),
    "a number": ("malformed", b"1"),
    "truncated": ("malformed", b'{"title": "xyz'),
    "with trailing garbage": ("malformed", CREATE + b" xyzzy"),
    "two documents": ("malformed", CREATE * 2),
    "not UTF-8": ("malformed", b'{"title": "xyzzy\xff"}'),
    "UTF-16": ("malformed", '{"title": "xyzzy"}'.encode("utf-16")),
    "with a byte order mark": ("malformed", b"\xef\xbb\xbf" + CREATE),
    "a lone surrogate": ("malformed", rb'{"title": "xyzzy\ud800"}'),
    "a raw NUL": ("malformed", b'{"title": "xyzzy\0"}'),
    "100,000 nested arrays": ("malformed", created("[" * 100_000 + "]" * 100_000)),
    "100,000 nested objects": ("malformed", created('{"a":' * 100_000 + "1" + "}" * 100_000)),
    "NaN": ("malformed", created("NaN")),
    "Infinity": ("malformed", created('{"a": -Infinity}')),
    "duplicate keys": ("malformed", b'{"title": "a", "title": "xyzzy"}'),
    "duplicate keys deep inside": ("malformed", created('{"a": [{"b": 1, "b": 2}]}')),
    "1e999": ("invalid", created('{"a": 1e999}')),
    "400 digits and a point": ("invalid", created(f'{{"a": {"9" * 400}.0}}')),
    "nested 120 deep": ("invalid", created('{"a":' * 120 + "1" + "}" * 120)),
    "an integer of 5,000 digits": ("malformed", created(f'{{"a": [{"9" * 5000}]}}')),
    "NUL in text": ("invalid", rb'{"title": "xyzzy\u0000"}'),
    "NUL in JSON": ("invalid", created(r'{"a": ["xyzzy\u0000"]}')),
    "NUL in a key of JSON": ("invalid", created(r'{"xyzzy\u0000": 1}')),
    "a number for a string": ("invalid", b'{"title": 1, "metadata": {"a": "xyzzy"}}'),
    "an array for an object": ("invalid", created("[]")),
    "null for an object": ("invalid", created("null")),
    "an unknown field": ("invalid", b'{"title": "xyzzy", "is_admin": true}'),
    "an unknown field of 1,000 characters": ("invalid", b'{"%s": 1}' % (b"xyzzy" * 200)),
    "a field of the service's own": ("invalid", b'{"title": "xyzzy", "created_at": "2026-01-01T00:00:00Z"}'),
    "a version in a create": ("invalid", b'{"title": "xyzzy", "version": 7}'),
    "the attribute's name in place of the field's": ("invalid", b'{"title": "xyzzy", "meta": {}}'),
    "a UUID malformed": ("invalid", b'{"id": "xyzzy"}'),
    "a UUID with a digit too many": ("invalid", b'{"id": "00000000-0000-0000-0000-0000000000000"}'),
    "200,000 keys": ("too-large", json.dumps({f"xyzzy{n}": n for n in range(200_000)}).encode()),
    "60,000 unknown fields": ("invalid", json.dumps({f"k{n}": n for n in range(60_000)}).encode()),
    "text of 10 MB": ("too-large", b'{"title": "%s"}' % (b"x" * 10 * MEBIBYTE)),
    "16 MB": ("too-large", b"\0" * 16 * MEBIBYTE),
    "one byte too many": ("too-large", b'{"title": "%s"}' % (b"x" * (MEBIBYTE - 12))),
}


@pytest.mark.parametrize(("expected", "body"), BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_bad_body_is_answered_with_a_problem(bench: Bench, expected: str, body: bytes) -> None:
    document = await assert_answered(bench, expected, "session.create", body)
    assert SECRET not in json.dumps(document).replace(SECRET * 10, "")  # an unknown field is named, no value is


@pytest.mark.parametrize("operation", ["session.list", "query.complete"])
async def test_a_bad_body_of_any_operation_is_answered_with_a_problem(bench: Bench, operation: str) -> None:
    await assert_answered(bench, "malformed", operation, b'{"where": xyzzy}')


GOOD_BODIES: dict[str, bytes] = {
    "at the limit": b'{"title": "%s"}' % (b"x" * (MEBIBYTE - 13)),
    "with large numbers": created(f'{{"a": [{2**63 - 1}, {-(2**63)}, {2**64}, {10**300}, 1e15]}}'),
    "nested 90 deep": created('{"a":' * 90 + "1" + "}" * 90),
    "with newlines, ANSI escapes and %s": rb'{"title": "xyzzy\n\u001b[31m%s%n{}"}',
    "with emoji and a surrogate pair": r'{"title": "🤖\ud83e\udd16"}'.encode(),
    "with 50,000 keys": created(json.dumps({f"k{n}": n for n in range(50_000)})),
}


@pytest.mark.parametrize("body", GOOD_BODIES.values(), ids=GOOD_BODIES)
async def test_an_odd_body_is_kept_as_it_is(bench: Bench, body: bytes) -> None:
    name = str(uuid.uuid4())
    await bench.send("session.create", body, {"correlation_id": name, "reply_to": bench.address, "message_id": name})
    answer, sent = json.loads((await bench.answer(name)).body), json.loads(body)
    assert {field: answer[field] for field in sent} == sent
    assert await bench.client.call("session.get", {"id": answer["id"]}) == answer


NOBODY = str(uuid.uuid4())
TAKEN = str(uuid.uuid4())


@pytest_asyncio.fixture(loop_scope="module")
async def taken(bench: Bench) -> AsyncIterator[None]:
    """A user named xyzzy, a session and a completed query that have the id TAKEN."""
    await bench.client.call("user.create", {"id": TAKEN, "username": SECRET})
    await bench.client.call("session.create", {"id": TAKEN})
    await bench.client.call("query.create", {"id": TAKEN, "session_id": TAKEN, "text": "?"})
    await bench.client.call("query.complete", {"id": TAKEN, "response": {}})
    yield
    for entity in ("session", "user"):
        await bench.client.call(f"{entity}.delete", {"id": TAKEN})


WHERE = "session.list"
MEANINGLESS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a parent that is not there": ("foreign-key", "query.create", {"session_id": NOBODY, "text": SECRET}),
    "an id taken": ("conflict", "session.create", {"id": TAKEN, "title": SECRET}),
    "a unique value taken": ("conflict", "user.create", {"username": SECRET}),
    "an update of nothing": ("not-found", "session.update", {"id": NOBODY, "title": SECRET}),
    "a delete of nothing": ("not-found", "session.delete", {"id": NOBODY}),
    "a command to nothing": ("not-found", "query.start", {"id": NOBODY}),
    "a wrong version": ("version-mismatch", "session.update", {"id": TAKEN, "title": SECRET, "version": 7}),
    "a version beyond 32 bits": ("invalid", "session.update", {"id": TAKEN, "title": SECRET, "version": 2**31}),
    "a version that is a bool": ("invalid", "session.update", {"id": TAKEN, "title": SECRET, "version": True}),
    "a transition not allowed": ("illegal-transition", "query.start", {"id": TAKEN}),
    "an update of the id's own field": ("invalid", "session.update", {"id": TAKEN, "created_at": "now"}),
    "a get without an id": ("invalid", "session.get", {}),
    "a filter on no field": ("invalid", WHERE, {"where": {"xyzzy": 1}}),
    "a filter on __class__": ("invalid", WHERE, {"where": {"__class__": SECRET}}),
    "a filter on registry": ("invalid", WHERE, {"where": {"registry": SECRET}}),
    "a filter on a relationship": ("invalid", WHERE, {"where": {"user": {"username": SECRET}}}),
    "a filter on JSON": ("invalid", WHERE, {"where": {"metadata": {}}}),
    "a filter of no object": ("invalid", WHERE, {"where": [SECRET]}),
    "an operator that does not exist": ("invalid", WHERE, {"where": {"title": {"xyzzy": 1}}}),
    "like with a megabyte of %": ("invalid", WHERE, {"where": {"title": {"like": "%" * (MEBIBYTE - 100)}}}),
    "in with 26,000 values": ("invalid", WHERE, {"where": {"id": {"in": [NOBODY] * 26_000}}}),
    "an unknown value of an enum": ("invalid", WHERE, {"where": {"status": SECRET}}),
    "a naive time": ("invalid", WHERE, {"where": {"created_at": "xyzzy"}}),
    "a time in the year 0": ("invalid", WHERE, {"where": {"created_at": "0000-01-01T00:00:00Z"}}),
    "a time in the year 10000": ("invalid", WHERE, {"where": {"created_at": "10000-01-01T00:00:00Z"}}),
    "a time before the year 1": ("invalid", WHERE, {"where": {"created_at": "0001-01-01T00:00:00+14:00"}}),
    "a time after the year 9999": ("invalid", WHERE, {"where": {"created_at": "9999-12-31T23:59:59-14:00"}}),
    "a time without an offset": ("invalid", WHERE, {"where": {"created_at": "2026-01-01T00:00:00"}}),
    "an integer beyond the column": ("invalid", WHERE, {"where": {"version": 2**40}}),
    "a sort by SQL": ("invalid", WHERE, {"order": ["id desc; --"]}),
    "a sort by __class__": ("invalid", WHERE, {"order": ["__class__"]}),
    "a sort by 1,000 keys": ("invalid", WHERE, {"order": ["id"] * 1000}),
    "a limit of -1": ("invalid", WHERE, {"limit": -1}),
    "a limit of 0": ("invalid", WHERE, {"limit": 0}),
    "a limit of 10^12": ("invalid", WHERE, {"limit": 10**12}),
    "an offset of 2^63": ("invalid", WHERE, {"offset": 2**63}),
    "an unknown operation": ("unknown-operation", "session.divide", {"title": SECRET}),
    "an unknown entity": ("unknown-operation", "__class__.create", {"title": SECRET}),
    "an operation of 255 characters": ("unknown-operation", "x" * 255, {"title": SECRET}),
    "no operation": ("unknown-operation", "", {"title": SECRET}),
}


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(("expected", "operation", "body"), MEANINGLESS.values(), ids=MEANINGLESS)
async def test_what_makes_no_sense_is_answered_with_a_problem(
    bench: Bench, expected: str, operation: str, body: dict[str, Any]
) -> None:
    document = await assert_answered(bench, expected, operation, json.dumps(body).encode())
    assert document["detail"]


async def test_an_answer_larger_than_a_message_may_be_is_a_problem(bench: Bench) -> None:
    title = str(uuid.uuid4())
    for _ in range(5):
        await bench.client.call("session.create", {"title": title, "metadata": {"a": "x" * 1_000_000}})
    body = json.dumps({"where": {"title": title}}).encode()
    await assert_answered(bench, "result-too-large", "session.list", body)
    assert await bench.client.call("session.count", {"where": {"title": title}}) == {"count": 5}


async def test_two_thousand_invalid_requests_among_two_thousand_valid_ones_harm_none(bench: Bench) -> None:
    title = str(uuid.uuid4())
    kinds = [{"title": title}, {"title": 1}, {"title": title}, {"id": NOBODY, "is_admin": True}]
    replies = await asyncio.gather(*(bench.client.request("session.create", kinds[n % 4]) for n in range(4000)))
    types = [reply.type.removeprefix(errors.PREFIX) for reply in replies]
    assert types == ["session.create", "invalid"] * 2000
    assert await bench.client.call("session.count", {"where": {"title": title}}) == {"count": 2000}


async def test_one_message_id_sent_a_hundred_times_at_once_is_applied_once(bench: Bench) -> None:
    title = str(uuid.uuid4())
    sent = (bench.client.request("session.create", {"title": title}, message_id=title) for _ in range(100))
    assert len({reply.body for reply in await asyncio.gather(*sent)}) == 1
    assert await bench.client.call("session.count", {"where": {"title": title}}) == {"count": 1}


async def test_what_was_never_a_request_to_the_service_ends_as_a_dead_letter(bench: Bench) -> None:
    """Somebody may publish to a queue by its name."""
    letters = len(bench.letters.all)
    for queue in ("writes.0", "reads", "unrouted"):
        await bench.send(f"{bench.settings.service_name}.{queue}", CREATE, exchange="")
    await bench.letters.until(lambda: len(bench.letters.all) == letters + 3)
    assert {reason(letter) for letter in bench.letters.all[letters:]} == {"unknown-operation"}


async def test_the_log_of_a_process_is_one_line_a_record(postgres_url: str, template: str, rabbitmq_url: str) -> None:
    async with harness.isolated(postgres_url, template, rabbitmq_url) as settings, Process(settings) as process:
        await process.consuming()
        async with harness.channel(rabbitmq_url) as raw:
            exchange = await raw.get_exchange(harness.names(settings).requests, ensure=False)
            for message_id in ("xyzzy\n%s", "xyzzy\x1b[31m"):
                await exchange.publish(Message(b'{"\n%s\x1b": xyzzy}', message_id=message_id), "session.create")
        await process.says("dead letter", times=2)
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
    for line in process.log:
        assert line.startswith('event="')
        assert line.rstrip("\n").isprintable()
        assert SECRET not in line
