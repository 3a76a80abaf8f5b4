"""Metrics in Prometheus' text format. What is a state is looked at when it is asked for."""

import math
from collections.abc import Iterable
from functools import partial

from prometheus_client import exposition

from src import __version__, errors
from src.admin.single_flight import SingleFlight
from src.consumers.messages import KILLS_PROCESS, UNANSWERED
from src.database import Database
from src.entity import Operation
from src.errors import Internal, Problem
from src.processing import inbox
from src.telemetry import metrics

CONTENT_TYPE = exposition.CONTENT_TYPE_PLAIN_0_0_4
KEEP = 15  # seconds that what the database says of the inbox is kept
PATIENCE = 1  # seconds that a scrape waits for that


class Metrics:
    """Of this process, and of the inbox in the database."""

    def __init__(self, database: Database, operations: Iterable[Operation]) -> None:
        self._database = database
        self._inbox = SingleFlight(partial(inbox.measure, database), keep=KEEP, patience=PATIENCE)
        _begin(operations)

    async def exposition(self) -> bytes:
        """All metrics as they are now."""
        await self._look_at_inbox()
        self._look_at_pool()
        metrics.DATABASE.count()
        metrics.BROKER.count()
        return exposition.generate_latest(metrics.REGISTRY)

    def _look_at_pool(self) -> None:
        pool = self._database.pool
        metrics.POOL_IN_USE.set(pool.in_use)
        metrics.POOL_LIMIT.set(pool.limit)
        metrics.POOL_WAITING.set(pool.waiting)

    async def _look_at_inbox(self) -> None:
        try:
            rows, age = await self._inbox.answer()
        except Exception:  # whatever it is: all the others are there
            rows, age = math.nan, math.nan
        metrics.INBOX_ROWS.set(rows)
        metrics.INBOX_AGE.set(age)


def _begin(operations: Iterable[Operation]) -> None:
    """What has not happened yet is 0 and not missing, or Prometheus would not see its first time as an increase."""
    metrics.BUILD.info({"version": __version__})
    for reason in (*(problem.name() for problem in Problem.__subclasses__()), UNANSWERED, KILLS_PROCESS):
        metrics.DEAD_LETTERS.labels(reason)
    for operation in operations:
        for outcome in (metrics.SERVED, Internal.name()):
            metrics.REQUESTS.labels(operation.key, outcome)
    metrics.REQUESTS.labels(metrics.UNKNOWN, errors.UnknownOperation.name())
