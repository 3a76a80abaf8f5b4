"""The stages of a batch, as the histogram ``db_stage_seconds`` has them."""

from dataclasses import dataclass
from time import monotonic

from src.telemetry import metrics


@dataclass(slots=True)
class StageTimer:
    """Observes the seconds of each stage of one batch. A stage begins where the one before it ends.

    The first stage begins at ``since``, a time of the monotonic clock.
    """

    subscriber: str
    since: float

    def end(self, stage: str) -> None:
        moment = monotonic()
        metrics.SECONDS.labels(self.subscriber, stage).observe(moment - self.since)
        self.since = moment
