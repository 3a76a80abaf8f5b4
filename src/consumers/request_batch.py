"""The requests of one batch, from their decoding until each has an outcome."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from src.amqp.batch import Batch
from src.consumers.messages import Received
from src.consumers.stage_timer import StageTimer
from src.entity import Operation
from src.processing.outcome import Outcome
from src.processing.request import RejectedRequest, Request

type Outcomes = list[tuple[int, Outcome]]
"""Outcomes of requests, each with the position of its delivery in the batch."""

type Apply = Callable[["RequestBatch"], AsyncIterator[Outcomes]]
"""Applies a batch and yields the outcomes as they become known. Each is settled before the next ones are asked for."""


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """The decoded deliveries of a batch. ``unsettled`` holds those without an outcome, by their position."""

    batch: Batch
    subscriber: str
    timer: StageTimer
    unsettled: dict[int, Received[Operation]]

    @property
    def valid(self) -> dict[int, Request[Operation]]:
        """The unsettled requests that passed every check, by position."""
        requests = {position: received.request for position, received in self.unsettled.items()}
        return {position: request for position, request in requests.items() if isinstance(request, Request)}

    @property
    def rejected(self) -> Outcomes:
        """The outcomes of the unsettled requests that failed a check."""
        requests = ((position, received.request) for position, received in self.unsettled.items())
        return [(position, request.outcome) for position, request in requests if isinstance(request, RejectedRequest)]
