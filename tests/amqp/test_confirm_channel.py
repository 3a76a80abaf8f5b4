"""What the broker's confirms and returns mean for the messages of a batch."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, cast

import pamqp.frame
import pytest
from pamqp import commands, header
from pamqp.commands import Basic

from src.amqp import frames
from src.amqp.confirm_channel import WRITE_SIZE, ConfirmChannel, PendingConfirms
from src.amqp.frames import Message, Properties


class Wire:
    """As much of a channel as a confirm channel writes to."""

    number = 1
    max_content_size = 1000

    def __init__(self, room: int = 0) -> None:
        self.write_queue: asyncio.Queue[Any] = asyncio.Queue(room)
        self.closed = asyncio.get_running_loop().create_future()

    @property
    def closing(self) -> asyncio.Future[None]:
        return asyncio.shield(self.closed)


async def sent(count: int) -> tuple[ConfirmChannel, PendingConfirms]:
    channel = ConfirmChannel()
    channel.channel = cast("Any", Wire())
    messages = [Message("", "q", b"x", Properties(message_id=str(n)), mandatory=True) for n in range(count)]
    return channel, await channel.publish(messages)


def take(channel: ConfirmChannel, *told: pamqp.frame.FrameTypes) -> None:
    for frame in told:
        marshalled = pamqp.frame.marshal(frame, 1)
        assert channel.handle_frame(marshalled[0], marshalled[7:-1])


def returned(message_id: str) -> Sequence[pamqp.frame.FrameTypes]:
    properties = Basic.Properties(message_id=message_id)
    return commands.Basic.Return(312, "NO_ROUTE", "", "q"), header.ContentHeader(0, 0, properties)


def results(of: PendingConfirms) -> list[str | None]:
    return [result and result.name for result in of.results]


async def test_one_ack_may_answer_for_many_messages() -> None:
    channel, of = await sent(4)
    take(channel, commands.Basic.Ack(2))
    assert results(of) == [None, "CONFIRMED", None, None]
    take(channel, commands.Basic.Ack(3, multiple=True))
    assert (results(of), of.done.done()) == (["CONFIRMED", "CONFIRMED", "CONFIRMED", None], False)
    take(channel, commands.Basic.Nack(4))
    assert (results(of), of.done.done()) == (["CONFIRMED", "CONFIRMED", "CONFIRMED", "REFUSED"], True)


async def test_a_message_that_is_returned_is_refused_though_it_is_acked() -> None:
    channel, of = await sent(3)
    take(channel, *returned("1"), commands.Basic.Ack(3, multiple=True))
    assert results(of) == ["CONFIRMED", "REFUSED", "CONFIRMED"]


async def test_batches_that_overlap_are_told_apart_by_their_tags() -> None:
    channel, first = await sent(2)
    second = await channel.publish([Message("", "q", b"", Properties())])
    take(channel, commands.Basic.Ack(3), commands.Basic.Nack(2, multiple=True))
    assert (results(first), results(second)) == (["REFUSED", "REFUSED"], ["CONFIRMED"])


@pytest.mark.parametrize("payload", [b"\0\x14\0\x28" + struct.pack(">HBHH", 404, 0, 60, 40)])
async def test_what_is_no_confirm_is_not_taken(payload: bytes) -> None:
    channel, _ = await sent(1)
    assert not channel.handle_frame(frames.METHOD, payload)
    assert not channel.handle_frame(frames.HEADER, payload)


async def test_a_batch_does_not_wait_for_ever_on_a_connection_that_has_died() -> None:
    channel = ConfirmChannel()
    channel.channel = wire = cast("Any", Wire(room=1))
    await channel.publish([Message("", "q", b"x", Properties())])
    sending = asyncio.create_task(channel.publish([Message("", "q", b"x" * WRITE_SIZE, Properties())] * 3))
    wire.closed.set_result(None)
    assert not (await sending).done.done()
