"""One batch of writes, one transaction: look up, load, run, flush, record.

The answers and the rows are those that the same requests would have given one by one. A batch that cannot be written
as a whole is run again in halves, each under a savepoint, until the request at fault is alone.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from src import inbox, rows
from src.base import Base, Timestamped, now
from src.database import Database, describe, translate
from src.errors import DeadlineExceeded, IdempotencyKeyReused, Internal, Problem, Transient, Unavailable
from src.messages import Event, Outcome, Request, State, timestamp

ATTEMPTS = 5  # at what the moment is to blame for; after them it counts as the infrastructure's fault
JITTER = 0.05  # seconds, times the attempt


@contextmanager
def _nobodys_fault() -> Iterator[None]:
    """What fails here is no request's doing: to look for a culprit would be in vain."""
    try:
        yield
    except DBAPIError as error:
        ours = translate(error)
        raise (ours if isinstance(ours, Transient) else Unavailable(describe(error))) from error


type Served = Mapping[bytes, inbox.Entry]
type Run = Callable[[AsyncSession, Sequence[Request], Served], Awaitable[list[Outcome]]]


class _HalfMade(Exception):
    """A request was rejected after it had changed something: the transaction must not stay as it is."""


class _Failed(Exception):
    """These requests cannot be written together."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


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
            with _nobodys_fault():
                served = await inbox.look_up(session, {request.key for request in requests if request.key})
            outcomes = await run(session, requests, served)
            with _nobodys_fault():
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
        try:
            return await self._under_savepoint(session, requests, served)
        except _Failed as failed:
            if len(requests) == 1:
                return [await self._alone(session, requests[0], served, failed.cause)]
        first, second = requests[: len(requests) // 2], requests[len(requests) // 2 :]
        outcomes = await self._halve(session, first, served)
        return outcomes + await self._halve(session, second, {**served, **_entries(first, outcomes, served)})

    async def _alone(self, session: AsyncSession, request: Request, served: Served, cause: Exception) -> Outcome:
        """The culprit: rejected where it is to blame, else run once more, for a bug may have been an accident."""
        if isinstance(cause, Problem):
            return _rejection(request, cause)
        try:
            return (await self._under_savepoint(session, [request], served))[0]
        except _Failed as failed:
            again = failed.cause
        return _rejection(request, again if isinstance(again, Problem) else Internal.because(again))

    async def _under_savepoint(
        self, session: AsyncSession, requests: Sequence[Request], served: Served
    ) -> list[Outcome]:
        """The first way, of which nothing stays where it raises _Failed."""
        try:
            async with session.begin_nested():
                return await self._run(session, requests, served)
        except Exception as raised:
            rows.of(session).forget()
            cause = translate(raised.__cause__ if isinstance(raised, _HalfMade) and raised.__cause__ else raised)
            if isinstance(cause, (Transient, Unavailable)) or not isinstance(cause, Exception):
                raise
            raise _Failed(cause) from raised

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
        savepoint = await session.begin_nested()
        outcome = await self._handle(session, request)
        await session.flush()
        await savepoint.rollback()
        rows.of(session).forget()
        return outcome

    def _outcome(self, request: Request, result: object, *, changed: bool) -> Outcome:
        operation = request.operation
        body = operation.entity.answer(result, self._max_answer)
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
    return Outcome.of(problem, request.operation, str(getattr(request.data, "id", None) or ""))
