"""What a measured program is told, in one JSON line on stdin, and what it answers, in one on stdout."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Job:
    """Serve the queue ``requests`` for so many ``seconds``; the result of each goes to the queue ``results``.

    The queue holds ``messages`` messages, or is filled without an end where that is 0. The first ``skipped`` of them
    are not measured. ``service`` is the name that the service is to have, and it serves ``partition`` of
    ``partitions``. ``profile`` is the file for its profile.
    """

    seconds: float
    rabbitmq_url: str
    database_url: str
    messages: int = 0
    skipped: int = 0
    requests: str = ""
    results: str = ""
    service: str = ""
    partition: int = 0
    partitions: int = 1
    profile: str | None = None

    @classmethod
    def read(cls) -> Self:
        return cls(**json.loads(sys.stdin.readline()))

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True)
class Measure:
    """From the first delivery to the last settled message; the CPU seconds (user and system) are the program's own."""

    messages: int
    seconds: float
    cpu_seconds: float
    p50_ms: float | None = None
    """Of a caller's wait for its answer, where there are callers."""
    p99_ms: float | None = None

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / self.messages * 1e6


class Stopwatch:
    """Started by the first delivery, stopped when the time is up or the last message is settled."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._skipped = 0
        self._settled = 0
        self._begun = (0.0, 0.0)
        self._ended = (0.0, 0.0)

    @property
    def runs(self) -> bool:
        return bool(self._begun[0]) and not self._ended[0]

    def start(self) -> bool:
        """A delivery begins to be served. Whether the measurement begins with it."""
        if self._begun[0] or self._skipped < self._job.skipped:
            return False
        self._begun = _clocks()
        return True

    def settle(self, messages: int = 1) -> bool:
        """Count what is settled (its result confirmed, itself acked); whether the measurement ends with it."""
        if not self.runs:
            self._skipped += messages
            return False
        self._settled += messages
        now = _clocks()
        last = 0 < self._job.messages <= self._skipped + self._settled
        if not last and now[0] - self._begun[0] < self._job.seconds:
            return False
        self._ended = now
        return True

    def report(self) -> None:
        """Print the measure, or end the process where there is none."""
        if not self._ended[0]:
            sys.exit(f"ended after {self._settled} of {self._job.messages} messages, and before its time")
        (begun, cpu_begun), (ended, cpu_ended) = self._begun, self._ended
        measure = Measure(self._settled, ended - begun, cpu_ended - cpu_begun)
        sys.stdout.write(json.dumps(asdict(measure)) + "\n")


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
