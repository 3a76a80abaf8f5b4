"""One batch of reads, in read-only transactions: what names rows shares statements, the rest runs side by side."""

import asyncio
from collections.abc import Sequence

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
        together = [request for request in requests if request.operation.names_rows]
        apart = [[request] for request in requests if not request.operation.names_rows]
        results = await asyncio.gather(*map(self._read, [together, *apart]), return_exceptions=True)
        outcomes: dict[int, Outcome] = {}
        for group, result in zip([together, *apart], results, strict=True):
            if isinstance(result, BaseException):
                raise result
            outcomes |= {id(request): outcome for request, outcome in zip(group, result, strict=True)}
        return [outcomes[id(request)] for request in requests]

    async def _read(self, requests: Sequence[Request[Operation]]) -> list[Outcome]:
        try:
            return await self._transact(requests)
        except Unavailable:
            raise
        except Transient as error:
            raise Unavailable(str(error)) from error
        except Exception as error:  # of one of them: each is asked alone
            if len(requests) > 1:
                return [outcome for request in requests for outcome in await self._read([request])]
            return [Outcome.of(error if isinstance(error, Problem) else Internal.because(error))]

    async def _transact(self, requests: Sequence[Request[Operation]]) -> list[Outcome]:
        if not requests:
            return []
        wanted = rows.Wanted()
        for request in requests:
            request.operation.want(wanted, request.data)
        async with self._free, self._database.transaction(read_only=True) as session:
            await rows.of(session).load(wanted)
            outcomes = []
            for request in requests:
                try:
                    if request.deadline and request.deadline <= now():
                        raise DeadlineExceeded
                    outcomes.append(self._outcome(request, await request.operation.handler(session, request.data)))
                except Problem as problem:
                    outcomes.append(Outcome.of(problem))
            return outcomes

    def _outcome(self, request: Request[Operation], result: object) -> Outcome:
        body = request.operation.entity.answer(result, self._max_answer)
        return Outcome(State.SERVED, request.operation.key, body)
