"""One batch of writes, one transaction: look up, load, run, flush, record.

The answers and the rows are those that the same requests would have given one by one. A batch that cannot be written
as a whole is run again in halves, each under a savepoint, until the request at fault is alone.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from src import inbox, rows
from src.base import Base, Timestamped, now
from src.database import Database, translate
from src.errors import DeadlineExceeded, IdempotencyKeyReused, Internal, Problem, ResultTooLarge, Transient, Unavailable
from src.messages import Event, Outcome, Request, State, timestamp

ATTEMPTS = 5  # at what the moment is to blame for; after them it counts as the infrastructure's fault
JITTER = 0.05  # seconds, times the attempt

type Served = Mapping[bytes, inbox.Entry]
type Run = Callable[[AsyncSession, Sequence[Request], Served], Awaitable[list[Outcome]]]


class _HalfMade(Exception):
    """A request was rejected after it had changed something: the transaction must not stay as it is."""


class UnitOfWork:
    """Applies batches of writes. ``max_answer`` is the size of the largest answer, in bytes."""

    def __init__(self, database: Database, max_answer: int) -> None:
        self._database = database
        self._max_answer = max_answer

    async def apply(self, requests: Sequence[Request]) -> list[Outcome]:
        """The outcome of each request, committed. Raises Unavailable, with nothing done or all of it."""
        run: Run = self._run
        for attempt in range(ATTEMPTS):
            try:
                return await self._commit(requests, run)
            except (Transient, inbox.ServedElsewhere):
                await asyncio.sleep(random.uniform(0, JITTER * attempt))
            except Unavailable:
                raise
            except Exception:  # whoever raised it: halving finds out
                if run == self._halve:
                    raise
                run = self._halve
        raise Unavailable(f"the transaction did not get through in {ATTEMPTS} attempts")

    async def _commit(self, requests: Sequence[Request], run: Run) -> list[Outcome]:
        async with self._database.transaction() as session:
            served = await inbox.look_up(session, {request.key for request in requests if request.key})
            outcomes = await run(session, requests, served)
            await inbox.record(session, _entries(requests, outcomes, served))
        return outcomes

    async def _run(self, session: AsyncSession, requests: Sequence[Request], served: Served) -> list[Outcome]:
        """The first way: one after the other, one flush at the end."""
        served, wanted, outcomes = dict(served), rows.Wanted(), list[Outcome]()
        for request in requests:
            if request.key not in served:
                request.operation.want(wanted, request.data)
        await rows.of(session).load(wanted)
        for request in requests:
            entry = served.get(request.key) if request.key else None
            outcome = _repeat(entry, request) if entry else await self._serve(session, request)
            served |= _entries([request], [outcome], served)
            outcomes.append(outcome)
        await session.flush()
        return outcomes

    async def _halve(self, session: AsyncSession, requests: Sequence[Request], served: Served) -> list[Outcome]:
        """The second way: whatever cannot be written together is written apart."""
        error = await self._try(session, requests, served)
        if not isinstance(error, Exception):
            return error
        if len(requests) > 1:
            first, second = requests[: len(requests) // 2], requests[len(requests) // 2 :]
            outcomes = await self._halve(session, first, served)
            return outcomes + await self._halve(session, second, {**served, **_entries(first, outcomes, served)})
        if not isinstance(error, Problem):
            error = await self._try(session, requests, served)
        match error:
            case Problem():
                return [_rejection(requests[0], error)]
            case Exception():
                internal = Internal()
                internal.__cause__ = error
                return [_rejection(requests[0], internal)]
            case outcomes:
                return outcomes

    async def _try(
        self, session: AsyncSession, requests: Sequence[Request], served: Served
    ) -> list[Outcome] | Exception:
        """The outcomes, or why there are none; then nothing of these requests has stayed."""
        try:
            async with session.begin_nested():
                return await self._run(session, requests, served)
        except Exception as raised:
            rows.of(session).forget()
            error = translate(raised.__cause__ if isinstance(raised, _HalfMade) and raised.__cause__ else raised)
            if isinstance(error, (Transient, Unavailable)) or not isinstance(error, Exception):
                raise
            return error

    async def _serve(self, session: AsyncSession, request: Request) -> Outcome:
        if request.deadline and request.deadline <= now():
            return _rejection(request, DeadlineExceeded())
        if request.dry_run:
            return await self._rehearse(session, request)
        return await self._handle(session, request)

    async def _handle(self, session: AsyncSession, request: Request) -> Outcome:
        loaded = rows.of(session)
        loaded.begin()
        try:
            result = await request.operation.handler(session, request.data)
            await loaded.end()
            return self._outcome(request, result, changed=isinstance(result, Base) and loaded.changed(result))
        except Problem as problem:
            if loaded.touched:
                raise _HalfMade from problem
            return _rejection(request, problem)

    async def _rehearse(self, session: AsyncSession, request: Request) -> Outcome:
        """The answer that a request would have, without its effect."""
        await session.flush()
        savepoint = await session.begin_nested()
        outcome = await self._handle(session, request)
        await session.flush()
        await savepoint.rollback()
        rows.of(session).forget()
        return replace(outcome, events=())

    def _outcome(self, request: Request, result: object, *, changed: bool) -> Outcome:
        operation = request.operation
        body = operation.entity.answer(result)
        if len(body) > self._max_answer:
            raise ResultTooLarge
        events: tuple[Event, ...] = ()
        if changed and operation.event and isinstance(result, Base):
            moment = result.updated_at if isinstance(result, Timestamped) and operation.name != "delete" else now()
            version = getattr(result, "version", None)
            events = (Event(operation.event, str(result.id), version, timestamp(moment), body),)
        return Outcome(State.SERVED, operation.key, body, events=events)


def _entries(requests: Sequence[Request], outcomes: Sequence[Outcome], served: Served) -> dict[bytes, inbox.Entry]:
    """What is to be remembered: of each key the first final outcome."""
    entries: dict[bytes, inbox.Entry] = {}
    for request, outcome in zip(requests, outcomes, strict=True):
        if request.key and outcome.final and request.key not in served:
            entries.setdefault(request.key, inbox.Entry(request.fingerprint, outcome))
    return entries


def _repeat(entry: inbox.Entry, request: Request) -> Outcome:
    """The answer to a request whose key was served before."""
    if entry.fingerprint == request.fingerprint:
        return entry.outcome
    return _rejection(request, IdempotencyKeyReused())


def _rejection(request: Request, problem: Problem) -> Outcome:
    if request.dry_run:
        return Outcome.of(problem)  # nothing has happened, and nobody else hears of it
    return Outcome.of(problem, request.operation, str(getattr(request.data, "id", None) or ""))
