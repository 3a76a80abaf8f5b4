"""What we read and write is what pamqp would, and what pamqp cannot decode ends nothing. No broker is needed."""

import asyncio
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pamqp.frame
import pytest
from aiormq.connection import FrameReceiver
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import body, commands, header, heartbeat
from pamqp.commands import Basic

from src.amqp import assembling, encoding, frame_reader, frames, sanitizing
from src.amqp.frames import UNDECODABLE, Delivery, Properties
from src.amqp.sanitizing import sanitize_header, sanitize_method
from tests.support.marshalled import NAMES, nested, payload, short, table

HANDLED, PLAIN = 1, 2
"""Channels."""
SHORT_STRINGS = [name for name in NAMES if Basic.Properties.amqp_type(name) == "shortstr"]
SOUND = Basic.Properties(
    content_type="application/json",
    content_encoding="identity",
    headers={"partition-key": "a", "nested": {"list": [1, None, "x"]}},
    delivery_mode=2,
    priority=9,
    correlation_id="correlation",
    reply_to="réponse",
    expiration="60000",
    message_id="message",
    timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    message_type="type",
    user_id="user",
    app_id="app",
)
SOUND.cluster_id = "cluster"  # refused by the constructor, not by the decoder
PIECES = {name: SOUND.encode_property(name, SOUND[name]) for name in NAMES}


NOT_UTF8 = [(name, short(b"\xff\xfe")) for name in SHORT_STRINGS]
BAD = [
    *NOT_UTF8,
    ("timestamp", struct.pack(">Q", 2**63)),
    ("timestamp", struct.pack(">Q", 2**64 - 1)),
    ("headers", table(short(b"\xff") + b"V")),
    ("headers", table(short(b"k") + b"?")),
    ("headers", table(short(b"when") + b"T" + struct.pack(">Q", 2**63))),
    ("headers", table(b"\x09k")),
    ("headers", nested(3000)),
    ("delivery_mode", b"\x00"),
    ("delivery_mode", b"\x07"),
    ("expiration", short(b"abc")),
    ("expiration", short(b"")),
    ("expiration", short(b"-1")),
]


def decoded(data: bytes) -> header.ContentHeader:
    content = header.ContentHeader()
    content.unmarshal(data)
    return content


def assert_salvaged(bad: dict[str, bytes]) -> None:
    """The lost ones are named, the sound ones kept, but for the headers, which give way."""
    content = decoded(sanitize_header(payload(PIECES | bad)))
    lost = [name for name in NAMES if name in bad and name != "headers"] or ["headers"]
    assert content.body_size == 5
    assert content.properties.headers == {UNDECODABLE: ", ".join(lost)}
    for name in set(NAMES) - {"headers"}:
        assert content.properties[name] == (Basic.Properties() if name in bad else SOUND)[name]


@pytest.mark.parametrize(("name", "piece"), BAD)
def test_a_bad_property_is_named_and_the_sound_ones_are_kept(name: str, piece: bytes) -> None:
    assert_salvaged({name: piece})


@pytest.mark.parametrize(("name", "piece"), BAD)
def test_a_bad_property_alone_becomes_a_header_that_names_it(name: str, piece: bytes) -> None:
    assert decoded(sanitize_header(payload({name: piece}))).properties == Basic.Properties(headers={UNDECODABLE: name})


@given(st.lists(st.sampled_from(BAD), min_size=2, unique_by=lambda bad: bad[0]))
def test_bad_properties_together_are_all_named(bad: list[tuple[str, bytes]]) -> None:
    assert_salvaged(dict(bad))


@given(st.sets(st.sampled_from(NAMES)))
def test_sound_properties_are_left_byte_for_byte(names: set[str]) -> None:
    sound = payload({name: PIECES[name] for name in names})
    assert sanitize_header(sound) is sound


@pytest.mark.parametrize("mode", [b"\x01", b"\x02"])
@pytest.mark.parametrize("text", ["", "plain", "ünïcödé", "x" * 255])
def test_every_sound_string_and_mode_is_left_as_it_is(text: str, mode: bytes) -> None:
    string = short(text.encode()[:255])
    pieces = {name: string for name in SHORT_STRINGS if name != "expiration"} | {"delivery_mode": mode}
    assert sanitize_header(payload(pieces)) == payload(pieces)


LISTS = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda flags, rest: struct.pack(">H", flags & 0xFFFC) + rest, st.integers(0, 65535), st.binary()),
    st.builds(
        lambda names, cut: payload({name: PIECES[name] for name in names})[12:][:cut],
        st.sets(st.sampled_from(NAMES)),
        st.integers(0, 150),
    ),
)


@given(LISTS)
@example(b"")
@example(b"\x90")
@example(struct.pack(">H", Basic.Properties.flags["content_type"]))
@example(struct.pack(">H", Basic.Properties.flags["content_type"] | Basic.Properties.flags["delivery_mode"]))
@example(struct.pack(">H", Basic.Properties.flags["content_type"] | Basic.Properties.flags["timestamp"]) + b"\xffcut")
@example(struct.pack(">HH", 1, 0x8000) + short(b"continued flags"))
def test_whatever_the_property_list_holds_the_result_decodes(properties: bytes) -> None:
    decoded(sanitize_header(struct.pack(">HHQ", 60, 0, 0) + properties))


def delivery(routing_key: bytes) -> bytes:
    """The payload of a Basic.Deliver with a routing key of whatever bytes."""
    return b"\0\x3c\0\x3c" + short(b"tag") + struct.pack(">QB", 1, 0) + short(b"exchange") + short(routing_key)


@given(st.one_of(st.binary(max_size=255), st.text().map(lambda text: text.encode()[:255])))
@example(b"\xed\xa0\x80" + "é".encode() * 126)
def test_whatever_the_routing_key_holds_the_method_decodes(routing_key: bytes) -> None:
    tolerable = sanitize_method(delivery(routing_key))
    deliver = Basic.Deliver()
    deliver.unmarshal(tolerable[4:])
    assert (deliver.delivery_tag, deliver.exchange) == (1, "exchange")
    if routing_key.decode(errors="replace").encode() == routing_key:
        assert tolerable == delivery(routing_key)


SENT: list[Any] = [  # by a server: what has arguments at all
    commands.Connection.Start, commands.Connection.Secure, commands.Connection.Tune, commands.Connection.OpenOk,
    commands.Connection.Close, commands.Connection.Blocked, commands.Channel.OpenOk, commands.Channel.Flow,
    commands.Channel.FlowOk, commands.Channel.Close, commands.Queue.DeclareOk, commands.Queue.PurgeOk,
    commands.Queue.DeleteOk, commands.Basic.ConsumeOk, commands.Basic.Cancel, commands.Basic.CancelOk,
    commands.Basic.Return, commands.Basic.Deliver, commands.Basic.GetOk, commands.Basic.GetEmpty, commands.Basic.Ack,
    commands.Basic.Nack,
]  # fmt: skip
ARGUMENTS = {
    "octet": st.binary(min_size=1, max_size=1),
    "short": st.binary(min_size=2, max_size=2),
    "long": st.binary(min_size=4, max_size=4),
    "longlong": st.binary(min_size=8, max_size=8),
    "shortstr": st.binary(max_size=255).map(short) | st.just(short(b"\xed\xa0\x80" + "é".encode() * 126)),
    "longstr": st.binary(max_size=300).map(lambda data: struct.pack(">I", len(data)) + data),
    "table": st.just(table()),  # the server's properties, which no stranger writes
    "bit": st.binary(min_size=1, max_size=1),
}


@st.composite
def methods(draw: st.DrawFn) -> bytes:
    """The payload of any method that a server sends; bits share a byte, which comes last or before a string."""
    method = draw(st.sampled_from(SENT))
    kinds = [method.amqp_type(name) for name in method.__slots__]
    pieces = [draw(ARGUMENTS[kind]) for index, kind in enumerate(kinds) if kinds[index : index + 2] != ["bit", "bit"]]
    return struct.pack(">I", method.index) + b"".join(pieces)


def headers() -> st.SearchStrategy[bytes]:
    return LISTS.map(lambda properties: struct.pack(">HHQ", 60, 0, 5) + properties)


FRAMES = st.lists(
    st.one_of(
        st.tuples(st.just(frames.METHOD), methods()),
        st.tuples(st.just(frames.HEADER), headers()),
        st.tuples(st.just(frames.BODY), st.binary(max_size=300)),
    ),
    min_size=1,
    max_size=5,
)


@given(FRAMES)
def test_whatever_a_frame_holds_what_aiormq_is_given_decodes(sending: list[tuple[int, bytes]]) -> None:
    data = b"".join(frames.frame(kind, PLAIN, payload_) for kind, payload_ in sending)
    read, _ = asyncio.run(decoded_of([data]))
    assert len(read) == sum(bool(payload_) for _, payload_ in sending)


@given(FRAMES)
def test_whatever_a_frame_holds_what_is_handled_is_read(sending: list[tuple[int, bytes]]) -> None:
    deliver = b"\0\x3c\0\x3c" + short(b"tag") + struct.pack(">QB", 1, 0) + short(b"") + short(b"\xff")
    data = b"".join(frames.frame(kind, HANDLED, payload_) for kind, payload_ in [(frames.METHOD, deliver), *sending])
    _, delivered = asyncio.run(decoded_of([data]))
    for each in delivered:
        each.routing_key.encode()
        str(each.properties).encode()


@pytest.mark.parametrize("method", SENT, ids=lambda method: method.name)
def test_a_method_that_is_cut_short_raises_in_aiormq_alone(method: Any) -> None:
    for size in range(6):
        sanitize_method(struct.pack(">I", method.index) + b"\xff" * size)


def sound_or_salvaged(data: bytes) -> header.ContentHeader:
    return decoded(sanitize_header(data))


@given(LISTS)
@example(b"\xff\xff")
def test_a_header_reads_as_pamqp_would_read_it(properties: bytes) -> None:
    data = struct.pack(">HHQ", 60, 0, 0) + properties
    found, expected = sanitizing.properties(data), sound_or_salvaged(data).properties
    assert {name: getattr(found, name) or None for name in NAMES} == {name: expected[name] or None for name in NAMES}


TEXTS = st.text(max_size=60)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), TEXTS, st.lists(st.integers(0, 9)), st.just({"a": "b"})
)
WRITTEN = st.builds(
    Properties,
    **{name: st.none() | TEXTS for name in SHORT_STRINGS if name != "cluster_id"},
    headers=st.none() | st.dictionaries(st.text(min_size=1, max_size=20), VALUES, max_size=5),
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(0, 255),
    timestamp=st.none() | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
)


@given(WRITTEN, st.binary(max_size=40), st.integers(1, 50), TEXTS, st.booleans())
def test_what_is_published_is_written_as_pamqp_writes_it(
    given_: Properties,
    content: bytes,
    limit: int,
    routing_key: str,
    mandatory: bool,  # noqa: FBT001 - drawn
) -> None:
    publish = Basic.Publish(exchange="exchange", routing_key=routing_key, mandatory=mandatory)
    properties = Basic.Properties(**{name: getattr(given_, name) for name in NAMES if name != "cluster_id"})
    pieces = [content[begin : begin + limit] for begin in range(0, len(content), limit)]
    expected: list[Any] = [publish, header.ContentHeader(0, len(content), properties), *map(body.ContentBody, pieces)]
    written = [encoding.publish(7, "exchange", routing_key, mandatory), *encoding.content(7, given_, content, limit)]
    assert b"".join(written) == b"".join(pamqp.frame.marshal(each, 7) for each in expected)


def message(channel: int, tag: int, content: bytes, data: bytes, size: int = 131064) -> list[bytes]:
    deliver = commands.Basic.Deliver("consumer", tag, exchange="", routing_key="session.create")
    pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
    method = pamqp.frame.marshal(deliver, channel)
    return [
        method,
        frames.frame(frames.HEADER, channel, content),
        *[frames.frame(frames.BODY, channel, p) for p in pieces],
    ]


def sent() -> list[bytes]:
    """What a broker sends: deliveries with sound and with bad properties, on both channels, and other frames."""
    bad = payload({"timestamp": struct.pack(">Q", 2**63)}, size=2)
    contents = [(payload({}, size=0), b""), (bad, b"{}"), (payload(PIECES, size=9), b"123456789")]
    sending = [pamqp.frame.marshal(heartbeat.Heartbeat(), 0)]
    for tag, (content, data) in enumerate(contents, start=1):
        sending += message(HANDLED, tag, content, data, size=4) + message(PLAIN, tag, content, data)
        sending.append(pamqp.frame.marshal(commands.Basic.Ack(tag), HANDLED))
    return [*sending, pamqp.frame.marshal(heartbeat.Heartbeat(), 0)]


DELIVERED = [(1, b"", 0, {}), (2, b"{}", 2, {UNDECODABLE: "timestamp"}), (3, b"1234", 9, SOUND.headers)]


def tolerated(frame: bytes) -> bytes:
    return frames.frame(frame[0], frame[2], sanitize_header(frame[7:-1])) if frame[0] == frames.HEADER else frame


def is_handled(frame: bytes) -> bool:
    return frame[2] == HANDLED and not (frame[0] == frames.METHOD and frame[7:11] == frames.ACK)


async def received(pieces: Sequence[bytes], limit: int = 4) -> tuple[list[bytes], list[Delivery]]:
    """What aiormq reads of a stream that comes in these pieces, marshalled again, and what the handler gets."""
    read, delivered = await decoded_of(pieces, limit)
    return [pamqp.frame.marshal(frame, channel) for channel, frame in read], delivered


async def decoded_of(pieces: Sequence[bytes], limit: int = 4) -> tuple[list[tuple[int, Any]], list[Delivery]]:
    """The same, as pamqp has decoded it: channels and frames."""
    reader, delivered = frame_reader.FrameReader(asyncio.get_running_loop()), list[Delivery]()
    reader.frame_handlers[HANDLED] = assembling.DeliveryAssembler(delivered.append, limit)
    receiver = FrameReceiver(reader)
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    read = list[tuple[int, Any]]()
    while not reader.at_eof():
        _, channel, frame = await receiver.get_frame()
        read.append((channel, frame))
    return read, delivered


def assert_received(pieces: Sequence[bytes]) -> None:
    read, delivered = asyncio.run(received(pieces))
    alive = pamqp.frame.marshal(heartbeat.Heartbeat(), 0)
    expected = [tolerated(frame) for frame in sent() if not is_handled(frame)]
    assert [frame for frame in read if frame != alive] == [frame for frame in expected if frame != alive]
    assert [(d.tag, d.body, d.size, d.properties.headers or {}) for d in delivered] == DELIVERED


@given(st.lists(st.integers(0, sum(map(len, sent()))), max_size=20).map(sorted))
def test_the_reader_gives_the_same_frames_however_the_stream_is_cut(cuts: list[int]) -> None:
    data = b"".join(sent())
    assert_received([data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)])


def test_the_reader_gives_the_same_frames_byte_by_byte() -> None:
    assert_received([bytes([byte]) for byte in b"".join(sent())])


def test_aiormq_sees_a_sign_of_life_though_every_frame_is_handled() -> None:
    read, delivered = asyncio.run(received(message(HANDLED, 1, payload({}, size=0), b"")))
    assert read == [pamqp.frame.marshal(heartbeat.Heartbeat(), 0)]
    assert len(delivered) == 1


@given(st.binary(max_size=300))
def test_no_bytes_on_a_handled_channel_raise(data: bytes) -> None:
    """A broker that breaks the protocol is aiormq's to complain of."""
    deliveries = assembling.DeliveryAssembler(lambda _: None, limit=10)
    deliver = pamqp.frame.marshal(commands.Basic.Deliver("c", 1, exchange="", routing_key="k"), 1)[7:-1]
    for kind, payload_ in ((frames.METHOD, deliver), (frames.HEADER, struct.pack(">HHQ", 60, 0, len(data)) + data)):
        assert deliveries(kind, payload_)


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_the_reader_knows_whether_a_resource_alarm_blocks_the_connection(cut: int) -> None:
    async def blocked(*told: pamqp.frame.FrameTypes) -> bool:
        reader = frame_reader.FrameReader(asyncio.get_running_loop())
        data = b"".join(pamqp.frame.marshal(each, 0) for each in told)
        for at in range(0, len(data), cut):
            reader.feed_data(data[at : at + cut])
        return reader.blocked

    alarm, over = commands.Connection.Blocked("low on memory"), commands.Connection.Unblocked()
    assert not asyncio.run(blocked())
    assert asyncio.run(blocked(alarm))
    assert not asyncio.run(blocked(alarm, over))
    assert asyncio.run(blocked(alarm, over, alarm, heartbeat.Heartbeat()))
