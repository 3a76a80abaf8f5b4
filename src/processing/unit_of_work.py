"""One batch of writes, one transaction: look up, load, run, flush, record.

The answers and the rows are those that the same requests would have given one by one. A batch that cannot be written
together is run again in halves, each under a savepoint, until the request at fault is alone.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncSession

from src.base import Record
from src.clock import now, timestamp
from src.database import Database
from src.dialects.driver_errors import infrastructure_errors, translate
from src.entity import Operation
from src.errors import DeadlineExceeded, IdempotencyKeyReused, Internal, Problem, Transient, Unavailable, place
from src.persistence import identity_map
from src.persistence.change_tracking import ChangeTracker
from src.persistence.failed_statements import FailedStatements
from src.processing import inbox
from src.processing.request import Event, Outcome, RejectedRequest, Request, State
from src.processing.row_size import RowSizeLimit
from src.telemetry import metrics

log = logging.getLogger(__name__)

ATTEMPTS = 5  # at what the moment is to blame for; after them it counts as the infrastructure's fault
JITTER = 0.05  # seconds: the longest delay before the second attempt; later attempts wait longer in proportion

type Requests = Sequence[Request[Operation]]
type Asked = Sequence[Request[Operation] | RejectedRequest]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is known while a batch runs: its rows, its requests that were served, what the database has refused."""

    session: AsyncSession
    rows: identity_map.IdentityMap
    memory: inbox.SeenRequests
    refusals: FailedStatements

    def refused(self) -> BaseException | None:
        """The statement's refusal that a handler has kept to itself. Raises it where the moment is to blame."""
        refusal = self.refusals.take()
        ours = refusal and translate(refusal)
        if isinstance(ours, (Transient, Unavailable)):
            raise ours from refusal
        return refusal


type _Way = Callable[[_Batch, Requests], Awaitable[list[Outcome]]]


class _HalfMade(Exception):
    """A request was rejected after it had changed what cannot be taken back: the transaction must not stay as it is."""


class _Swallowed(Exception):
    """A handler went on after the database had refused a statement: what it did may not stay."""


class _Failed(Exception):
    """These requests cannot be written together."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class UnitOfWork:
    """Applies batches of writes. ``sizes`` are those that rows may have."""

    def __init__(self, database: Database, sizes: RowSizeLimit) -> None:
        self._database = database
        self._sizes = sizes

    async def apply(self, asked: Asked) -> list[Outcome]:
        """The outcome of each request, committed. Raises Unavailable, with nothing done or all of it."""
        try:
            return await self._persist(asked, self._at_once)
        except Unavailable:
            raise
        except Exception as error:  # whoever raised it: halving finds out
            metrics.BISECTED_BATCHES.inc()
            metrics.SECOND_WAYS.inc()
            log.warning("%d requests could not be written together: %s", len(asked), place(error))
            return await self._persist(asked, self._in_halves)

    async def _persist(self, asked: Asked, way: _Way) -> list[Outcome]:
        for attempt in range(ATTEMPTS):
            try:
                return await self._transact(asked, way)
            except (Transient, inbox.ConcurrentDuplicate):
                await asyncio.sleep(random.uniform(0, JITTER * attempt))
        raise Unavailable(f"the transaction did not get through in {ATTEMPTS} attempts")

    async def _transact(self, asked: Asked, way: _Way) -> list[Outcome]:
        named = [request.key for request in asked if request.key]
        keys = set(named)
        async with self._database.session(by_request=True) as session:
            with infrastructure_errors():
                found = await inbox.look_up(session, keys)
            memory = inbox.SeenRequests(found)
            loaded, refusals = identity_map.of(session), await FailedStatements.of(session)
            loaded.refusals = refusals
            batch = _Batch(session, loaded, memory, refusals)
            outcomes = iter(await way(batch, [each for each in asked if isinstance(each, Request)]))
            with infrastructure_errors():
                await inbox.record(session, memory.served, keys - found.keys() - memory.served.keys())
        metrics.DUPLICATES.inc(len(named) - len(keys) + len(found))
        return [memory.refuse(each) if isinstance(each, RejectedRequest) else next(outcomes) for each in asked]

    async def _at_once(self, batch: _Batch, requests: Requests) -> list[Outcome]:
        """The first way: all together, and one flush."""
        outcomes = await self._together(batch, requests)
        await batch.rows.write_last()
        return outcomes

    async def _together(self, batch: _Batch, requests: Requests) -> list[Outcome]:
        """Load what they name, run one after the other."""
        wanted = identity_map.LoadPlan()
        for request in requests:
            if batch.memory.get(request) is None:
                request.operation.row_names.plan_load(wanted, request.data)
        await batch.rows.load(wanted)
        return [await self._answer(batch, request) for request in requests]

    async def _in_halves(self, batch: _Batch, requests: Requests) -> list[Outcome]:
        """The second way: whatever cannot be written together is written apart."""
        try:
            return await self._under_savepoint(batch, requests)
        except _Failed as failed:
            if len(requests) == 1:
                return [await self._alone(batch, requests[0], failed.cause)]
        middle = len(requests) // 2
        first = await self._in_halves(batch, requests[:middle])
        return first + await self._in_halves(batch, requests[middle:])

    async def _alone(self, batch: _Batch, request: Request[Operation], cause: Exception) -> Outcome:
        """The culprit: rejected where it is to blame, else run once more, for a bug may have been an accident."""
        if not isinstance(cause, Problem):
            try:
                return (await self._under_savepoint(batch, [request]))[0]
            except _Failed as failed:
                cause = failed.cause
        outcome = _rejection(request, cause if isinstance(cause, Problem) else Internal.because(cause))
        batch.memory.remember(request, outcome)
        return outcome

    async def _under_savepoint(self, batch: _Batch, requests: Requests) -> list[Outcome]:
        """All together, of which nothing stays where it raises _Failed."""
        trial = replace(batch, memory=batch.memory.copy())
        try:
            async with batch.session.begin_nested():
                outcomes = await self._together(trial, requests)
                await batch.session.flush()
        except Exception as raised:
            batch.rows.forget()
            batch.refusals.take()
            cause = translate(raised.__cause__ if isinstance(raised, _HalfMade) and raised.__cause__ else raised)
            if isinstance(cause, (Transient, Unavailable)) or not isinstance(cause, Exception):
                raise
            raise _Failed(cause) from raised
        batch.memory.served.update(trial.memory.served)
        return outcomes

    async def _answer(self, batch: _Batch, request: Request[Operation]) -> Outcome:
        """What was answered before, or what serving the request comes to."""
        if entry := batch.memory.get(request):
            return _repeat(entry, request)
        outcome = await self._serve(batch, request)
        batch.memory.remember(request, outcome)
        return outcome

    async def _serve(self, batch: _Batch, request: Request[Operation]) -> Outcome:
        if request.deadline and request.deadline <= now():
            return _rejection(request, DeadlineExceeded())
        if request.dry_run:
            return await self._rehearse(batch, request)
        return await self._handle(batch, request)

    async def _handle(self, batch: _Batch, request: Request[Operation]) -> Outcome:
        changes = batch.rows.begin()
        try:
            result = await request.operation.handler(batch.session, request.data)
            await batch.rows.count()
            outcome = self._outcome(request, result, changes)
            await batch.rows.end()
        except Problem as problem:
            if batch.refused() or not batch.rows.take_back():
                raise _HalfMade from problem
            return _rejection(request, problem)
        if refusal := batch.refused():
            raise _Swallowed from refusal
        return outcome

    async def _rehearse(self, batch: _Batch, request: Request[Operation]) -> Outcome:
        """The answer that a request would have, without its effect."""
        savepoint = await batch.session.begin_nested()
        known = batch.rows.known()
        outcome = await self._handle(batch, request)
        await batch.session.flush()
        await savepoint.rollback()
        batch.rows.restore(known)
        return outcome

    def _outcome(self, request: Request[Operation], result: object, changes: ChangeTracker) -> Outcome:
        operation = request.operation
        body = self._sizes.answer(operation.entity, result, changes)
        events: tuple[Event, ...] = ()
        if operation.event and isinstance(result, Record) and changes.include(result):
            moment = now() if operation.name == "delete" else result.updated_at
            events = (Event(operation.event, str(result.id), result.version, timestamp(moment), body),)
        return Outcome(State.SERVED, operation.key, body, events=events)


def _repeat(entry: inbox.Entry, request: Request[Operation]) -> Outcome:
    """The answer to a request whose key was served before."""
    if entry.fingerprint == request.fingerprint:
        return entry.outcome
    return _rejection(request, IdempotencyKeyReused())


def _rejection(request: Request[Operation], problem: Problem) -> Outcome:
    return Outcome.of(problem, request.operation, str(getattr(request.data, "id", None) or ""))
