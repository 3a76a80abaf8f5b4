"""The service's metrics, of Prometheus' client; ``docs/operations.md`` lists them.

This module imports no other of the service, so that every package may count. Counters count once a batch. Gauges are
set when the metrics are scraped. Every label has few values, and no requester chooses one.
"""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_untyped: Any = prometheus_client
_untyped.disable_created_metrics()  # a second series for each counter, which Prometheus does not use

REGISTRY = CollectorRegistry()
prometheus_client.ProcessCollector(registry=REGISTRY)

UNKNOWN = "unknown"
SERVED = "served"

REQUESTS = Counter(
    "db_requests",
    "Requests that were settled, by operation (unknown: none of this version) and outcome: served, or the problem.",
    ["operation", "outcome"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "db_stage_seconds",
    "Seconds of a batch by subscriber (writes, reads, expired, unrouted) and stage: queued (from the arrival of its "
    "oldest request to its being taken), decoded, limited (where there is a RATE_LIMIT), waited (for the database to "
    "come back), transaction, publish (until all is confirmed).",
    ["subscriber", "stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
BATCHES = Histogram(
    "db_batch_requests",
    "Requests that shared a batch, by subscriber.",
    ["subscriber"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    registry=REGISTRY,
)
BISECTED_BATCHES = Counter(
    "db_bisected_batches",
    "Batches that could not be written together and were bisected until the request at fault was alone.",
    registry=REGISTRY,
)
SECOND_WAYS = Counter(
    "db_second_ways",
    "Deprecated: the former name of db_bisected_batches_total, removed in the next release.",
    registry=REGISTRY,
)
DUPLICATES = Counter(
    "db_duplicates",
    "Writes whose message_id was known already: they got the stored answer.",
    registry=REGISTRY,
)
DEAD_LETTERS = Counter(
    "db_dead_letters",
    "Requests that were put into the queue of dead letters, by reason.",
    ["reason"],
    registry=REGISTRY,
)
PARKED = Counter(
    "db_parked_events",
    "Events that a subscriber's full queue has refused, and that come to it later.",
    registry=REGISTRY,
)
UNLIMITED = Counter(
    "db_unlimited_requests",
    "Requests that were served without being counted against RATE_LIMIT, for Redis was away.",
    registry=REGISTRY,
)
_OUTAGES = Counter(
    "db_outage_seconds",
    "Seconds in which the database did not serve, or the broker was not connected or took no messages.",
    ["of"],
    registry=REGISTRY,
)
POOL_IN_USE = Gauge(
    "db_pool_connections_in_use",
    "Connections to the database that are in use.",
    registry=REGISTRY,
)
POOL_LIMIT = Gauge(
    "db_pool_connections_limit",
    "Connections to the database that may be in use at once.",
    registry=REGISTRY,
)
POOL_WAITING = Gauge(
    "db_pool_waiting",
    "Transactions that wait for a connection to the database.",
    registry=REGISTRY,
)
INBOX_ROWS = Gauge(
    "db_inbox_rows",
    "Requests that the inbox remembers, as the database estimates it. NaN while the database does not answer.",
    registry=REGISTRY,
)
INBOX_AGE = Gauge(
    "db_inbox_oldest_seconds",
    "Age of the oldest request that the inbox remembers. NaN while the database does not answer.",
    registry=REGISTRY,
)
ISOLATED = Counter(
    "db_isolated_requests",
    "Suspected poison messages: requests that were served alone, each attempt counted beforehand.",
    registry=REGISTRY,
)
CAREFUL = Counter(
    "db_careful_requests",
    "Deprecated: the former name of db_isolated_requests_total, removed in the next release.",
    registry=REGISTRY,
)
BUILD = Info("db_build", "The version of the service that runs.", registry=REGISTRY)


class Outage:
    """Counts the seconds from the first notice of an outage until everyone who noticed it is served again."""

    def __init__(self, of: str) -> None:
        self._seconds = _OUTAGES.labels(of)
        self._waiting: set[Hashable] = set()
        self._counted = 0.0  # up to this moment of the monotonic clock

    def begin(self, who: Hashable) -> None:
        if not self._waiting:
            self._counted = monotonic()
        self._waiting.add(who)

    def end(self, who: Hashable) -> None:
        if who in self._waiting:
            self.count()
            self._waiting.remove(who)

    def end_all(self) -> None:
        """End the outage for everyone: the service stops."""
        self.count()
        self._waiting.clear()

    def count(self) -> None:
        """Count the seconds until now of an outage that goes on."""
        if self._waiting:
            moment = monotonic()
            self._seconds.inc(moment - self._counted)
            self._counted = moment

    @contextmanager
    def waiting(self, who: Hashable) -> Iterator[None]:
        """Count an outage while the block waits for a server. Without an outage the block ends at once."""
        self.begin(who)
        try:
            yield
        finally:
            self.end(who)


DATABASE = Outage("database")
BROKER = Outage("broker")
