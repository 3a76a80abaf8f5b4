"""What became of the requests of a play."""

import hashlib
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

WORST = 10  # kinds of failure that are reported


@dataclass
class Tally:
    """What became of ``total`` requests; ``digest`` is the same where every answer was the same."""

    total: int
    sent: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    answers: int = 0
    on_answer: Callable[[], None] = lambda: None

    @property
    def digest(self) -> str:
        return f"{self.answers:064x}"

    def note(self, message_id: str, operation: str, answer: bytes, problem: str | None, seconds: float) -> None:
        """One answer. Answers come in any order, so they are summed."""
        self.sent[operation] += 1
        self.seconds.append(seconds)
        said = hashlib.sha256(message_id.encode() + b"\0" + answer).digest()
        self.answers = (self.answers + int.from_bytes(said)) % 2**256
        if problem:
            self.failed[f"{operation}: {problem}"] += 1
        self.on_answer()

    def lines(self, seconds: float) -> Iterator[str]:
        """The report, where all of it took so many seconds."""
        for operation, number in sorted(self.sent.items()):
            yield f"{operation:<20} {number:>8}"
        yield f"{'answered':<20} {len(self.seconds):>8}    failed {sum(self.failed.values())}"
        for what, number in self.failed.most_common(WORST):
            yield f"  {number} x {what}"
        if self.seconds:
            yield f"{len(self.seconds) / seconds:.0f} answers/s; {self._latencies()}"
        yield f"answers {self.digest[:16]}"

    def _latencies(self) -> str:
        several = len(self.seconds) > 1
        cuts = statistics.quantiles(self.seconds, n=100) if several else self.seconds * 99
        percentiles = ", ".join(f"p{percent} {cuts[percent - 1] * 1000:.0f} ms" for percent in (50, 90, 99))
        return f"{percentiles}, longest {max(self.seconds) * 1000:.0f} ms"
