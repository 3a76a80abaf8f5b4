"""One batch of writes in one transaction: look up, load, run, flush, record.

The outcomes and the rows are those that the same requests would produce one by one. A batch that cannot be written
together is bisected, each half under a savepoint, until the request at fault is alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from src.backoff import Backoff
from src.base import Record
from src.clock import now, timestamp
from src.database import Database
from src.dialects.driver_errors import infrastructure_errors, locate, translate
from src.entity import Operation
from src.errors import DeadlineExceeded, IdempotencyKeyReused, Internal, Problem, Transient, Unavailable
from src.persistence.batch_map import BatchMap
from src.persistence.change_tracking import ChangeTracker
from src.persistence.identity_map import LoadPlan
from src.processing import fault, inbox
from src.processing.outcome import Event, Outcome, State
from src.processing.request import RejectedRequest, Request
from src.processing.row_size import RowSizeLimit
from src.telemetry import metrics

log = logging.getLogger(__name__)

ATTEMPTS = 5  # at a transaction that fails for a transient reason; then the database counts as unavailable
FIRST_DELAY = 0.02  # seconds: a deadlock or a concurrent duplicate is over as soon as the other transaction ends
LONGEST_DELAY = 0.2  # seconds: the batch holds its deliveries meanwhile

type Requests = Sequence[Request[Operation]]
type Received = Sequence[Request[Operation] | RejectedRequest]


@dataclass(frozen=True, slots=True)
class _Batch:
    """The state of a batch while it runs."""

    rows: BatchMap
    seen: inbox.SeenRequests

    def caught_failure(self) -> BaseException | None:
        """Return the error of a failed statement that a handler has caught. Raises it if it is transient."""
        failed = self.rows.failed_statements
        error, failed.first = failed.first, None
        ours = error and translate(error)
        if isinstance(ours, (Transient, Unavailable)):
            raise ours from error
        return error


class _ChangesRemain(Exception):
    """A request was rejected after changes that memory alone cannot undo: its transaction must be rolled back."""


class _CaughtFailure(Exception):
    """A handler caught the error of a failed statement and went on: its changes must be rolled back."""


class _NotWritten(Exception):
    """These requests cannot be written together."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class UnitOfWork:
    """Applies batches of writes. ``sizes`` limits the rows."""

    def __init__(self, database: Database, sizes: RowSizeLimit) -> None:
        self._database = database
        self._sizes = sizes

    async def apply(self, received: Received) -> list[Outcome]:
        """Return the outcome of each request, committed. Raises Unavailable, with all of it or nothing committed."""
        try:
            return await self._retry(received, bisect=False)
        except Unavailable:
            raise
        except Exception as error:  # the bisection finds the request that raised it
            metrics.BISECTED_BATCHES.inc()
            metrics.SECOND_WAYS.inc()
            log.warning("%d requests could not be written together: %s", len(received), locate(error))
            return await self._retry(received, bisect=True)

    async def _retry(self, received: Received, *, bisect: bool) -> list[Outcome]:
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        for _ in range(ATTEMPTS):
            try:
                return await self._transact(received, bisect=bisect)
            except (Transient, inbox.ConcurrentDuplicate):
                await backoff.pause()
        raise Unavailable(f"the transaction did not get through in {ATTEMPTS} attempts")

    async def _transact(self, received: Received, *, bisect: bool) -> list[Outcome]:
        named = [request.key for request in received if request.key]
        keys = set(named)
        async with self._database.batch() as rows:
            with infrastructure_errors():
                connection = await rows.session.connection()
                found = await inbox.look_up(connection, rows.dialect, keys)
            batch = _Batch(rows, inbox.SeenRequests(found))
            valid = [each for each in received if isinstance(each, Request)]
            outcomes = iter(await (self._bisect if bisect else self._run)(batch, valid))
            await rows.write_last()
            served = batch.seen.served
            with infrastructure_errors():
                await inbox.record(connection, rows.dialect, served, keys - found.keys() - served.keys())
        metrics.DUPLICATES.inc(len(named) - len(keys) + len(found))
        return [batch.seen.reject(each) if isinstance(each, RejectedRequest) else next(outcomes) for each in received]

    async def _run(self, batch: _Batch, requests: Requests) -> list[Outcome]:
        """Load the rows that the requests name, and run the requests one after the other."""
        plan = LoadPlan()
        for request in requests:
            if request.key not in batch.seen.found and request.key not in batch.seen.served:
                request.operation.row_names.plan_load(plan, request.data)
        await batch.rows.load(plan)
        return [await self._answer(batch, request) for request in requests]

    async def _bisect(self, batch: _Batch, requests: Requests) -> list[Outcome]:
        """Write the requests together if possible, or else each half by itself."""
        try:
            return await self._run_under_savepoint(batch, requests)
        except _NotWritten as failed:
            if len(requests) == 1:
                return [await self._run_alone(batch, requests[0], failed.cause)]
        middle = len(requests) // 2
        first = await self._bisect(batch, requests[:middle])
        return first + await self._bisect(batch, requests[middle:])

    async def _run_alone(self, batch: _Batch, request: Request[Operation], cause: Exception) -> Outcome:
        """Reject the request at fault for a problem; run it once more after a bug, which may not occur again."""
        cause = fault.cause_of(request, cause)
        if not isinstance(cause, Problem):
            try:
                return (await self._run_under_savepoint(batch, [request]))[0]
            except _NotWritten as failed:
                cause = fault.cause_of(request, failed.cause)
        outcome = _rejection(request, cause if isinstance(cause, Problem) else Internal.because(cause))
        batch.seen.remember(request, outcome)
        return outcome

    async def _run_under_savepoint(self, batch: _Batch, requests: Requests) -> list[Outcome]:
        """Run and flush the requests. Raises _NotWritten after a rollback to the savepoint."""
        trial = replace(batch, seen=batch.seen.copy())
        try:
            async with batch.rows.session.begin_nested():
                outcomes = await self._run(trial, requests)
                await batch.rows.session.flush()
        except Exception as raised:
            batch.rows.clear()
            batch.rows.failed_statements.first = None
            cause = translate(raised.__cause__ if isinstance(raised, _ChangesRemain) and raised.__cause__ else raised)
            if isinstance(cause, (Transient, Unavailable)) or not isinstance(cause, Exception):
                raise
            raise _NotWritten(cause) from raised
        batch.seen.served.update(trial.seen.served)
        return outcomes

    async def _answer(self, batch: _Batch, request: Request[Operation]) -> Outcome:
        """Return the stored outcome of a duplicate, or serve the request."""
        if entry := batch.seen.get(request):
            return entry.outcome if entry.answers(request) else _rejection(request, IdempotencyKeyReused())
        if request.deadline and request.deadline <= now():
            outcome = _rejection(request, DeadlineExceeded())
        elif request.dry_run:
            outcome = await self._dry_run(batch, request)
        else:
            outcome = await self._handle(batch, request)
        batch.seen.remember(request, outcome)
        return outcome

    async def _handle(self, batch: _Batch, request: Request[Operation]) -> Outcome:
        changes = batch.rows.begin()
        try:
            result = await request.operation.handler(batch.rows.session, request.data)
            await batch.rows.count_versions()
            outcome = self._outcome(request, result, changes)
            await batch.rows.end()
        except Problem as problem:
            if batch.caught_failure() or not batch.rows.undo():
                raise _ChangesRemain from problem
            return _rejection(request, problem)
        if error := batch.caught_failure():
            raise _CaughtFailure from error
        return outcome

    async def _dry_run(self, batch: _Batch, request: Request[Operation]) -> Outcome:
        """Return the outcome that the request would have, and roll back its changes."""
        savepoint = await batch.rows.session.begin_nested()
        snapshot = batch.rows.snapshot()
        outcome = await self._handle(batch, request)
        await batch.rows.session.flush()
        await savepoint.rollback()
        batch.rows.restore(snapshot)
        return outcome

    def _outcome(self, request: Request[Operation], result: object, changes: ChangeTracker) -> Outcome:
        operation = request.operation
        body = self._sizes.answer(operation.entity, result, changes)
        events: tuple[Event, ...] = ()
        if operation.event and isinstance(result, Record) and changes.includes(result):
            moment = now() if operation.name == "delete" else result.updated_at
            events = (Event(operation.event, str(result.id), result.version, timestamp(moment), body),)
        return Outcome(State.SERVED, operation.key, body, events=events)


def _rejection(request: Request[Operation], problem: Problem) -> Outcome:
    return Outcome.of(problem, request.operation.failed_event, str(getattr(request.data, "id", None) or ""))
