"""One batch of reads: what names rows shares statements, the rest runs side by side, each seeing one state."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, cast

from src.clock import now
from src.database import Database
from src.entity import Operation
from src.errors import DeadlineExceeded, Internal, Problem, Transient, Unavailable
from src.persistence.identity_map import LoadPlan
from src.persistence.read_map import ReadMap
from src.processing.outcome import Outcome, State
from src.processing.request import Request

PART = 20  # groups that are read before their answers are counted
LARGE = 16 * 1024 * 1024  # bytes of answers that do not wait for others

type Answered = tuple[int, Outcome]
type Requests = Sequence[Request[Operation]]


class BatchReader:
    """Answers batches of reads, ``concurrency`` transactions at a time. ``max_answer`` is in bytes."""

    def __init__(self, database: Database, max_answer: int, concurrency: int) -> None:
        self._database = database
        self._max_answer = max_answer
        self._free = asyncio.Semaphore(concurrency)

    async def apply(self, requests: Requests) -> AsyncIterator[list[Answered]]:
        """Yield the outcomes with the positions of their requests, in any order. Raises Unavailable.

        A list is yielded as soon as its bodies are large.
        """
        groups, answered = deque(_groups(requests)), list[Answered]()
        while groups:
            part = [groups.popleft() for _ in range(min(len(groups), PART))]
            reads = [self._read([requests[position] for position in group]) for group in part]
            for group, outcomes in zip(part, await _side_by_side(reads), strict=True):
                if outcomes is None:
                    groups += (group[: len(group) // 2], group[len(group) // 2 :])
                else:
                    answered += zip(group, outcomes, strict=True)
            if sum(len(outcome.body) for _, outcome in answered) > LARGE:
                yield answered
                answered = []
        yield answered

    async def _read(self, requests: Requests) -> list[Outcome] | None:
        """The outcomes; None where several cannot be read together: then each half is read by itself."""
        try:
            return await self._twice(requests)
        except Unavailable:
            raise
        except Transient as error:
            raise Unavailable(str(error)) from error
        except Exception as error:
            if len(requests) > 1:
                return None
            return [Outcome.of(error if isinstance(error, Problem) else Internal.because(error))]

    async def _twice(self, requests: Requests) -> list[Outcome]:
        """Once more where the moment is to blame: a table was altered, and its statements are prepared anew."""
        try:
            return await self._answer(requests)
        except Transient:
            return await self._answer(requests)

    async def _answer(self, requests: Requests) -> list[Outcome]:
        plan = LoadPlan()
        for request in requests:
            request.operation.row_names.plan_load(plan, request.data)
        once = all(request.operation.loads_only for request in requests)
        async with self._free, self._database.read_batch(self._max_answer, once=once) as rows:
            await rows.load(plan)
            return [await self._outcome(rows, request) for request in requests]

    async def _outcome(self, rows: ReadMap, request: Request[Operation]) -> Outcome:
        try:
            if request.deadline and request.deadline <= now():
                raise DeadlineExceeded
            rows.begin()
            result = await request.operation.handler(rows.session, request.data)
            body = request.operation.entity.answer(result, self._max_answer)
        except Problem as problem:
            return Outcome.of(problem)
        return Outcome(State.SERVED, request.operation.key, body)


async def _side_by_side[T](reads: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What each returns, once all have ended. A single one needs no task for that."""
    if len(reads) == 1:
        return [await reads[0]]
    results = await asyncio.gather(*reads, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)


def _groups(requests: Requests) -> list[list[int]]:
    """Group positions to read together: rows of one entity, then others that name rows; each of the rest is alone."""
    groups: dict[object, list[int]] = {}
    for position, request in enumerate(requests):
        operation = request.operation
        named: object = operation if operation.loads_only else "named"
        groups.setdefault(named if operation.row_names.any else position, []).append(position)
    return list(groups.values())
