"""The names on the wire: exchanges, queues, headers, content types.

Every name that a service declares begins with ``SERVICE_NAME``, so that several services can share a broker.
"""

from dataclasses import dataclass
from functools import cached_property

JSON = "application/json"
PROBLEM = "application/problem+json"  # RFC 9457

PARTITION_KEY = "partition-key"
DEADLINE = "deadline"
DRY_RUN = "dry-run"
TRACEPARENT = "traceparent"
ENTITY_VERSION = "entity-version"
CAUSATION_ID = "causation-id"
CLOUD_EVENT = "cloudEvents:"  # CloudEvents AMQP binding: the prefix of its attributes among the headers

MOST_PARTITIONS = 64

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"

# headers of a dead letter
REASON = "reason"
DETAIL = "detail"
OPERATION = "operation"
DIED_AT = "died-at"
SIZE = "size"  # bytes of the whole body, if the dead letter has only the first of them
SENDER = "sender"  # the request's user_id

REPLAY = "replay"  # of a request and of its dead letter: how often an operator has sent it again
MOST_REPLAYS = 2**31

# reasons of a dead letter that are no problem types
UNANSWERED = "unanswered"
KILLS_PROCESS = "kills-process"


def failed_event(operation: str) -> str:
    """Return the name of the event that tells of a rejected write; ``operation`` is its routing key."""
    return f"{operation}.failed"


@dataclass(frozen=True)
class Names:
    """The names of the exchanges and queues that the service named ``service`` declares."""

    service: str

    @cached_property
    def requests(self) -> str:
        return f"{self.service}.requests"

    @cached_property
    def writes(self) -> str:
        return f"{self.service}.writes"

    def partition(self, number: int) -> str:
        return f"{self.service}.writes.{number}"

    def partitions(self, count: int) -> list[str]:
        """Return the queues of ``count`` partitions."""
        return [self.partition(number) for number in range(count)]

    @cached_property
    def reads(self) -> str:
        return f"{self.service}.reads"

    @cached_property
    def events(self) -> str:
        return f"{self.service}.events"

    @cached_property
    def parked(self) -> str:
        return f"{self.service}.parked"

    @cached_property
    def released(self) -> str:
        return f"{self.service}.released"

    @cached_property
    def dead(self) -> str:
        return f"{self.service}.dead"

    @cached_property
    def unrouted(self) -> str:
        return f"{self.service}.unrouted"

    @cached_property
    def expired(self) -> str:
        """The exchange and queue of writes that RabbitMQ has dead-lettered from their partition."""
        return f"{self.service}.expired"

    @cached_property
    def fanouts(self) -> list[str]:
        """The fanout exchanges, each with a queue of the same name bound to it."""
        return [self.dead, self.unrouted, self.expired, self.parked, self.released]

    def queues(self, partitions: int) -> list[str]:
        """Return every queue that the service declares with this number of partitions."""
        return [*self.partitions(partitions), self.reads, *self.fanouts]

    @cached_property
    def exchanges(self) -> list[str]:
        """Every exchange that the service declares; ``writes`` exists only with several partitions."""
        return [self.requests, self.writes, self.events, *self.fanouts]
