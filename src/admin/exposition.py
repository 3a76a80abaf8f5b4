"""Metrics in Prometheus' text format. The gauges are set at each scrape."""

import math
from collections.abc import Iterable
from functools import partial

from prometheus_client import exposition

from src import __version__, errors
from src.admin.single_flight import SingleFlight
from src.consumers import dead_letter
from src.database import Database
from src.entity import Operation
from src.errors import Internal
from src.processing import inbox
from src.telemetry import metrics

CONTENT_TYPE = exposition.CONTENT_TYPE_PLAIN_0_0_4
MAX_AGE = 15  # seconds: how long measurements of the inbox are kept, so that scrapes do not load the database
TIMEOUT = 1  # seconds: how long a scrape waits for the measurements


class Metrics:
    """The metrics of this process, and those of the inbox in the database."""

    def __init__(self, database: Database, operations: Iterable[Operation]) -> None:
        self._database = database
        self._inbox = SingleFlight(partial(inbox.measure, database), max_age=MAX_AGE, timeout=TIMEOUT)
        _initialize(operations)

    async def exposition(self) -> bytes:
        """Return all metrics as they are now."""
        await self._measure_inbox()
        pool = self._database.pool
        metrics.POOL_IN_USE.set(pool.in_use)
        metrics.POOL_LIMIT.set(pool.limit)
        metrics.POOL_WAITING.set(pool.waiting)
        metrics.DATABASE.count()
        metrics.BROKER.count()
        return exposition.generate_latest(metrics.REGISTRY)

    async def _measure_inbox(self) -> None:
        try:
            rows, age = await self._inbox.result()
        except Exception:  # any error: the other metrics are exposed all the same
            rows, age = math.nan, math.nan
        metrics.INBOX_ROWS.set(rows)
        metrics.INBOX_AGE.set(age)


def _initialize(operations: Iterable[Operation]) -> None:
    """Set the counters to 0: Prometheus sees no increase where a series begins with 1."""
    metrics.BUILD.info({"version": __version__})
    for reason in dead_letter.reasons():
        metrics.DEAD_LETTERS.labels(reason)
    for operation in operations:
        for outcome in (metrics.SERVED, Internal.name()):
            metrics.REQUESTS.labels(operation.key, outcome)
    metrics.REQUESTS.labels(metrics.UNKNOWN, errors.UnknownOperation.name())
