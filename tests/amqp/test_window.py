"""What has arrived on a channel, cut into batches."""

import asyncio
from typing import Any, cast

import pytest
from pamqp import commands, header

from src.amqp import frames
from src.amqp.batch import Batch, BatchLimits
from src.amqp.window import Window

PARTITION = BatchLimits(prefetch=400, requests=200, body_bytes=1000, window_bytes=100_000, has_delivery_count=True)
CLASSIC = BatchLimits(prefetch=400, requests=200, body_bytes=1000, window_bytes=100_000)
FRESH: dict[str, Any] = {}
FORGED = {"x-delivery-count": 7}
BROKEN = b"\0\0\0\x05\x01\xffS\0\0"  # a table whose key is not UTF-8, and cut short


def arrive(window: Window, tag: int, redelivered: bool, headers: dict[str, Any] | bytes) -> None:  # noqa: FBT001
    """A message without a body, as its frames."""
    deliver = commands.Basic.Deliver("consumer", tag, redelivered, "", "session.create")
    properties = commands.Basic.Properties(headers={} if isinstance(headers, bytes) else headers)
    described = header.ContentHeader(0, 0, properties).marshal()
    if isinstance(headers, bytes):
        described = described[:14] + headers
    window.handle_frame(frames.METHOD, frames.DELIVER + deliver.marshal())
    window.handle_frame(frames.HEADER, described)


async def batches(limits: BatchLimits, *arrived: tuple[bool, dict[str, Any] | bytes]) -> list[Batch]:
    """What is taken of deliveries that are redelivered or not, and have these headers."""
    window = Window(limits, asyncio.Event())
    window.channel = cast("Any", None)
    for tag, (redelivered, headers) in enumerate(arrived, start=1):
        arrive(window, tag, redelivered, headers)
    taken: list[Batch] = []
    while window.waiting:
        batch = await window.take()
        assert batch
        taken.append(batch)
    return taken


def sizes(taken: list[Batch]) -> list[int]:
    return [len(batch.deliveries) for batch in taken]


def count(number: int) -> dict[str, Any]:
    return {"x-delivery-count": number}


async def test_what_has_come_back_twice_to_a_partition_is_taken_alone_until_the_first_that_has_not() -> None:
    taken = await batches(
        PARTITION, (True, count(3)), (True, count(2)), (True, count(1)), (False, FRESH), (False, FRESH)
    )
    assert sizes(taken) == [1, 1, 3]
    assert [batch.suspected for batch in taken] == [True, True, False]


async def test_a_batch_ends_before_what_is_taken_alone() -> None:
    taken = await batches(PARTITION, (False, FRESH), (True, count(2)), (True, count(1)))
    assert [(len(batch.deliveries), batch.suspected) for batch in taken] == [(1, False), (1, True), (1, False)]


async def test_where_no_queue_counts_whatever_has_come_back_is_taken_alone() -> None:
    taken = await batches(CLASSIC, (True, FRESH), (True, count(0)), (False, FRESH))
    assert [batch.suspected for batch in taken] == [True, True, False]


async def test_where_no_queue_counts_what_comes_back_among_others_is_no_suspect_nor_is_it_in_the_next_window() -> None:
    window = Window(CLASSIC, asyncio.Event())
    window.channel = cast("Any", None)
    for tag, redelivered in enumerate([True, False, True], start=1):
        arrive(window, tag, redelivered, FRESH)
    taken = [await window.take() for _ in range(3)]
    assert [batch and batch.suspected for batch in taken] == [True, False, False]
    following = window.next_window()
    following.channel = cast("Any", None)
    arrive(following, 1, True, FRESH)
    again = await following.take()
    assert again
    assert not again.suspected


@pytest.mark.parametrize("limits", [PARTITION, CLASSIC], ids=["partition", "classic"])
async def test_a_forged_count_makes_no_suspect_of_what_has_not_come_back(limits: BatchLimits) -> None:
    assert sizes(await batches(limits, (False, FORGED), (False, FRESH), (False, BROKEN))) == [3]


@pytest.mark.parametrize("headers", [BROKEN, {"x-delivery-count": "2"}, FRESH], ids=["broken", "text", "none"])
async def test_what_comes_back_without_a_count_that_can_be_read_is_taken_alone(headers: dict[str, Any] | bytes) -> None:
    taken = await batches(PARTITION, (True, headers), (True, count(1)))
    assert [batch.suspected for batch in taken] == [True, False]
