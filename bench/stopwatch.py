"""What a measured program is told, in one JSON line on stdin, and what it answers, in one on stdout."""

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Job:
    """The queue ``requests`` holds ``messages`` messages; the result of each goes to the queue ``results``.

    ``service`` is the name that the service is to have, ``profile`` the file for its profile.
    """

    messages: int
    rabbitmq_url: str
    database_url: str
    requests: str = ""
    results: str = ""
    service: str = ""
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

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / self.messages * 1e6


class Stopwatch:
    """Started by the first delivery, stopped by the last of ``messages`` that is settled."""

    def __init__(self, messages: int) -> None:
        self._messages = messages
        self._left = messages
        self._begun = (0.0, 0.0)
        self._ended = (0.0, 0.0)
        self._runs = False

    def start(self) -> bool:
        """Begin at the first call; whether this was it."""
        if self._runs:
            return False
        self._runs = True
        self._begun = _clocks()
        return True

    def settle(self, messages: int = 1) -> bool:
        """Count what is settled (its result confirmed, itself acked); whether that was the last."""
        self._left -= messages
        if self._left > 0:
            return False
        self._ended = _clocks()
        return True

    def report(self) -> None:
        """Print the measure, or end the process where there is none."""
        if self._left > 0:
            sys.exit(f"{self._left} of {self._messages} messages were never settled")
        (begun, cpu_begun), (ended, cpu_ended) = self._begun, self._ended
        measure = Measure(self._messages, ended - begun, cpu_ended - cpu_begun)
        sys.stdout.write(json.dumps(asdict(measure)) + "\n")


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
