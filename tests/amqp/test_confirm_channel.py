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
    """As much of a channel as an outlet writes to."""

    number = 1
    max_content_size = 1000

    def __init__(self, room: int = 0) -> None:
        self.write_queue: asyncio.Queue[Any] = asyncio.Queue(room)
        self.closed = asyncio.get_running_loop().create_future()

    @property
    def closing(self) -> asyncio.Future[None]:
        return asyncio.shield(self.closed)


async def sent(count: int) -> tuple[ConfirmChannel, PendingConfirms]:
    outlet = ConfirmChannel()
    outlet.channel = cast("Any", Wire())
    messages = [Message("", "q", b"x", Properties(message_id=str(n)), mandatory=True) for n in range(count)]
    return outlet, await outlet.send(messages)


def take(outlet: ConfirmChannel, *told: pamqp.frame.FrameTypes) -> None:
    for frame in told:
        marshalled = pamqp.frame.marshal(frame, 1)
        assert outlet.take(marshalled[0], marshalled[7:-1])


def returned(message_id: str) -> Sequence[pamqp.frame.FrameTypes]:
    properties = Basic.Properties(message_id=message_id)
    return commands.Basic.Return(312, "NO_ROUTE", "", "q"), header.ContentHeader(0, 0, properties)


def results(of: PendingConfirms) -> list[str | None]:
    return [result and result.name for result in of.results]


async def test_one_ack_may_answer_for_many_messages() -> None:
    outlet, of = await sent(4)
    take(outlet, commands.Basic.Ack(2))
    assert results(of) == [None, "TAKEN", None, None]
    take(outlet, commands.Basic.Ack(3, multiple=True))
    assert (results(of), of.answered.done()) == (["TAKEN", "TAKEN", "TAKEN", None], False)
    take(outlet, commands.Basic.Nack(4))
    assert (results(of), of.answered.done()) == (["TAKEN", "TAKEN", "TAKEN", "REFUSED"], True)


async def test_a_message_that_is_returned_is_refused_though_it_is_acked() -> None:
    outlet, of = await sent(3)
    take(outlet, *returned("1"), commands.Basic.Ack(3, multiple=True))
    assert results(of) == ["TAKEN", "REFUSED", "TAKEN"]


async def test_batches_that_overlap_are_told_apart_by_their_tags() -> None:
    outlet, first = await sent(2)
    second = await outlet.send([Message("", "q", b"", Properties())])
    take(outlet, commands.Basic.Ack(3), commands.Basic.Nack(2, multiple=True))
    assert (results(first), results(second)) == (["REFUSED", "REFUSED"], ["TAKEN"])


@pytest.mark.parametrize("payload", [b"\0\x14\0\x28" + struct.pack(">HBHH", 404, 0, 60, 40)])
async def test_what_is_no_confirm_is_not_taken(payload: bytes) -> None:
    outlet, _ = await sent(1)
    assert not outlet.take(frames.METHOD, payload)
    assert not outlet.take(frames.HEADER, payload)


async def test_a_batch_does_not_wait_for_ever_on_a_connection_that_has_died() -> None:
    outlet = ConfirmChannel()
    outlet.channel = wire = cast("Any", Wire(room=1))
    await outlet.send([Message("", "q", b"x", Properties())])
    sending = asyncio.create_task(outlet.send([Message("", "q", b"x" * WRITE_SIZE, Properties())] * 3))
    wire.closed.set_result(None)
    assert not (await sending).answered.done()
