"""What pamqp cannot decode, frame by frame: no broker is needed, and one would refuse some of it."""

import asyncio
import struct
from collections.abc import Sequence
from datetime import UTC, datetime

import pamqp.frame
import pytest
from aiormq.connection import FrameReceiver
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import body, commands, constants, header, heartbeat
from pamqp.commands import Basic

from src.amqp.frames import UNDECODABLE, TolerantReader, tolerable, tolerable_method
from tests.marshalled import NAMES, nested, payload, short, table

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
    content = decoded(tolerable(payload(PIECES | bad)))
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
    assert decoded(tolerable(payload({name: piece}))).properties == Basic.Properties(headers={UNDECODABLE: name})


@given(st.lists(st.sampled_from(BAD), min_size=2, unique_by=lambda bad: bad[0]))
def test_bad_properties_together_are_all_named(bad: list[tuple[str, bytes]]) -> None:
    assert_salvaged(dict(bad))


@given(st.sets(st.sampled_from(NAMES)))
def test_sound_properties_are_left_byte_for_byte(names: set[str]) -> None:
    sound = payload({name: PIECES[name] for name in names})
    assert tolerable(sound) is sound


@pytest.mark.parametrize("mode", [b"\x01", b"\x02"])
@pytest.mark.parametrize("text", ["", "plain", "ünïcödé", "x" * 255])
def test_every_sound_string_and_mode_is_left_as_it_is(text: str, mode: bytes) -> None:
    string = short(text.encode()[:255])
    pieces = {name: string for name in SHORT_STRINGS if name != "expiration"} | {"delivery_mode": mode}
    assert tolerable(payload(pieces)) == payload(pieces)


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
    decoded(tolerable(struct.pack(">HHQ", 60, 0, 0) + properties))


def delivery(routing_key: bytes) -> bytes:
    """The payload of a Basic.Deliver with a routing key of whatever bytes."""
    return b"\0\x3c\0\x3c" + short(b"tag") + struct.pack(">QB", 1, 0) + short(b"exchange") + short(routing_key)


@given(st.one_of(st.binary(max_size=255), st.text().map(lambda text: text.encode()[:255])))
@example(b"\xed\xa0\x80" + "é".encode() * 126)
def test_whatever_the_routing_key_holds_the_method_decodes(routing_key: bytes) -> None:
    tolerable = tolerable_method(delivery(routing_key))
    deliver = Basic.Deliver()
    deliver.unmarshal(tolerable[4:])
    assert (deliver.delivery_tag, deliver.exchange) == (1, "exchange")
    if routing_key.decode(errors="replace").encode() == routing_key:
        assert tolerable == delivery(routing_key)


def frames() -> list[bytes]:
    """A delivery with a bad property between two without, and what else a broker sends."""
    bad = payload({"timestamp": struct.pack(">Q", 2**63)}, size=2)
    headers = [payload({}, size=2), bad, payload(PIECES, size=2)]
    sent = [pamqp.frame.marshal(heartbeat.Heartbeat(), 0)]
    for content in headers:
        deliver = commands.Basic.Deliver("tag", 1, exchange="", routing_key="session.create")
        sent += [pamqp.frame.marshal(deliver, 1), framed(content), pamqp.frame.marshal(body.ContentBody(b"{}"), 1)]
    return [*sent, pamqp.frame.marshal(commands.Basic.Ack(1), 1), pamqp.frame.marshal(heartbeat.Heartbeat(), 0)]


def framed(content: bytes) -> bytes:
    return struct.pack(">BHI", constants.FRAME_HEADER, 1, len(content)) + content + constants.FRAME_END_CHAR


def tolerated(frame: bytes) -> bytes:
    return framed(tolerable(frame[7:-1])) if frame[0] == constants.FRAME_HEADER else frame


async def received(pieces: Sequence[bytes]) -> list[bytes]:
    """What aiormq reads of a stream that comes in these pieces, marshalled again."""
    stream = asyncio.StreamReader()
    receiver = FrameReceiver(TolerantReader(stream))  # type: ignore[arg-type]  # as much of a StreamReader as it needs

    async def feed() -> None:
        for piece in pieces:
            stream.feed_data(piece)
            await asyncio.sleep(0)  # as much of it is read as can be

    async with asyncio.TaskGroup() as group:
        group.create_task(feed())
        read = [await receiver.get_frame() for _ in frames()]
    stream.feed_eof()
    assert receiver.reader.at_eof()
    return [pamqp.frame.marshal(frame, channel) for _, channel, frame in read]


@given(st.lists(st.integers(0, sum(map(len, frames()))), max_size=20).map(sorted))
def test_the_reader_gives_the_same_frames_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream, sent = b"".join(frames()), [tolerated(frame) for frame in frames()]
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert asyncio.run(received(pieces)) == sent


def test_the_reader_gives_the_same_frames_byte_by_byte() -> None:
    stream = b"".join(frames())
    assert asyncio.run(received([bytes([byte]) for byte in stream])) == [tolerated(frame) for frame in frames()]
