"""What one measurement is about, and the proof that what it counted was served."""

import asyncio
from dataclasses import dataclass

from aiormq.channel import Channel

from bench.requests import Workload
from bench.rows import Rows
from src import wire

IN_FLIGHT = 100  # the prefetch of those that serve one by one: so many more may be half served as one ends


class Failed(Exception):
    """A program did not do its work; there is nothing to compare."""


@dataclass(frozen=True)
class Scene:
    """Requests are published to ``exchange``, a result of each must be in each of ``results``, in ``empty`` nothing.

    ``service`` is the name of the service where it is one, ``requested`` are the queues that are consumed, ``rows``
    says that they lead to rows. ``callers`` ask one request after the other; without them everything is there before.
    """

    workload: Workload
    service: str = ""
    requested: tuple[str, ...] = ()
    exchange: str = ""
    reply_to: str | None = None
    results: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    exchanges: tuple[str, ...] = ()
    rows: bool = False
    callers: int = 0

    @property
    def queues(self) -> tuple[str, ...]:
        return (*self.requested, *self.results, *self.empty)

    @property
    def partitions(self) -> int:
        return len(self.requested)


def of_service(names: wire.Names, workload: Workload, partitions: int, *, reply: bool) -> Scene:
    """Its events in a queue of their own, its replies in another where there are any."""
    events, replies = f"{names.service}.seen", f"{names.service}.replies"
    return Scene(
        workload,
        service=names.service,
        requested=tuple(names.partitions(partitions)),
        exchange=names.requests,
        reply_to=replies if reply else None,
        results=(events, replies) if reply else (events,),
        empty=(names.reads, *names.fanouts),
        exchanges=tuple(names.exchanges),
        rows=True,
    )


def of_reads(names: wire.Names, workload: Workload, callers: int) -> Scene:
    """Its answers go to those who call."""
    return Scene(
        workload,
        service=names.service,
        requested=(names.reads,),
        exchange=names.requests,
        empty=(names.partition(0), *names.fanouts),
        exchanges=tuple(names.exchanges),
        callers=callers,
    )


async def check(scene: Scene, counted: int, channel: Channel, rows: Rows) -> None:
    """Raise Failed unless every message that was counted was really served."""
    for queue in scene.empty:
        _expect(f"messages in {queue}", await depth(channel, queue), 0)
    results = [await depth(channel, queue) for queue in scene.results]
    served = results[0] if results else counted
    if served < counted:
        raise Failed(f"{served} results, where {counted} messages were served")
    for queue, held in zip(scene.results, results, strict=True):
        _expect(f"messages in {queue}", held, served)
    if scene.rows:
        await _check_rows(scene, served, rows)


async def _check_rows(scene: Scene, served: int, rows: Rows) -> None:
    """The service serves in order and ends what it began; of the others, nobody knows what was on its way."""
    queries, keys = scene.workload.left_by(served)
    _expect("queries", await rows.added("queries"), queries, slack=0 if scene.service else IN_FLIGHT)
    if scene.service:
        _expect("rows in the inbox", await rows.added("inbox"), keys)


async def depth(channel: Channel, queue: str) -> int:
    """How many messages a queue holds when nobody consumes it any more: what was not acked is back by then."""
    while True:
        declared = await channel.queue_declare(queue, passive=True)
        if not declared.consumer_count:
            return declared.message_count or 0
        await asyncio.sleep(0.02)


def _expect(what: str, found: int, expected: int, slack: int = 0) -> None:
    if abs(found - expected) > slack:
        raise Failed(f"{found} {what}, where {expected} were due")
