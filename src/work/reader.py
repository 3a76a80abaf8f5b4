"""One batch of reads: what names rows shares statements, the rest runs side by side, each seeing one state."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncSession

from src import rows
from src.clock import now
from src.database import Database
from src.entity import Operation
from src.errors import DeadlineExceeded, Internal, Problem, Transient, Unavailable
from src.work.requests import Outcome, Request, State


class Reader:
    """Answers batches of reads, ``concurrency`` transactions at a time. ``max_answer`` is in bytes."""

    def __init__(self, database: Database, max_answer: int, concurrency: int) -> None:
        self._database = database
        self._max_answer = max_answer
        self._free = asyncio.Semaphore(concurrency)

    async def apply(self, requests: Sequence[Request[Operation]]) -> list[Outcome]:
        """The outcome of each request. Raises Unavailable."""
        groups = _groups(requests)
        results = await _side_by_side([self._read(group) for group in groups])
        outcomes: dict[int, Outcome] = {}
        for group, result in zip(groups, results, strict=True):
            outcomes |= {id(request): outcome for request, outcome in zip(group, result, strict=True)}
        return [outcomes[id(request)] for request in requests]

    async def _read(self, requests: Sequence[Request[Operation]]) -> list[Outcome]:
        try:
            return await self._answer(requests)
        except Unavailable:
            raise
        except Transient as error:
            raise Unavailable(str(error)) from error
        except Exception as error:  # of one of them: each is asked alone
            if len(requests) > 1:
                return [outcome for request in requests for outcome in await self._read([request])]
            return [Outcome.of(error if isinstance(error, Problem) else Internal.because(error))]

    async def _answer(self, requests: Sequence[Request[Operation]]) -> list[Outcome]:
        wanted = rows.Wanted()
        for request in requests:
            request.operation.want(wanted, request.data)
        once = all(request.operation.loads_only for request in requests)
        async with self._free, self._database.reading(once=once) as session:
            await rows.of(session).load(wanted)
            return [await self._outcome(session, request) for request in requests]

    async def _outcome(self, session: AsyncSession, request: Request[Operation]) -> Outcome:
        try:
            if request.deadline and request.deadline <= now():
                raise DeadlineExceeded
            result = await request.operation.handler(session, request.data)
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


def _groups(requests: Sequence[Request[Operation]]) -> list[list[Request[Operation]]]:
    """What is read together: rows of one entity by one statement, others that name rows, and each of the rest alone."""
    groups: dict[object, list[Request[Operation]]] = {}
    for request in requests:
        operation = request.operation
        named: object = operation if operation.loads_only else "named"
        groups.setdefault(named if operation.names_rows else id(request), []).append(request)
    return list(groups.values())
