"""The stages of a batch, as the histogram ``db_stage_seconds`` has them."""

from time import monotonic

from src.telemetry import metrics


class StageTimer:
    """Observes the seconds of each stage of one batch. A stage begins where the one before it ends.

    The first stage begins at ``since``, a time of the monotonic clock.
    """

    def __init__(self, subscriber: str, since: float) -> None:
        self._subscriber = subscriber
        self._since = since

    def end(self, stage: str) -> None:
        moment = monotonic()
        metrics.SECONDS.labels(self._subscriber, stage).observe(moment - self._since)
        self._since = moment
