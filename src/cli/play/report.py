"""What became of the dialogues of a play, and of their requests."""

import hashlib
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from src.cli.play.dialogues import Dialogue, Rejected

SHOWN = 10  # lines of the file that are named, of those that failed and of those that were refused


@dataclass
class Failure:
    """The first request of a dialogue that failed, and how many of it failed after that: they may have followed."""

    dialogue: Dialogue
    operation: str
    problem: str
    after: int = 0

    def __str__(self) -> str:
        more = f", and after that {self.after} more of its requests" if self.after else ""
        return f"line {self.dialogue.line}, {self.dialogue.name}: failed: {self.operation}: {self.problem}{more}"


@dataclass
class Report:
    """What became of the requests of ``dialogues``; ``digest`` is the same where every answer was the same."""

    dialogues: Sequence[Dialogue]
    rejected: Sequence[Rejected] = ()
    sent: Counter[str] = field(default_factory=Counter)
    failures: dict[int, Failure] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    answers: int = 0
    on_answer: Callable[[], None] = lambda: None

    @property
    def total(self) -> int:
        """Requests there are to send."""
        return sum(len(dialogue.steps) for dialogue in self.dialogues)

    @property
    def digest(self) -> str:
        return f"{self.answers:064x}"

    def note(self, dialogue: Dialogue, message_id: str, operation: str, answer: bytes, seconds: float) -> None:
        """One answer. Answers come in any order, so they are summed."""
        self.sent[operation] += 1
        self.seconds.append(seconds)
        said = hashlib.sha256(message_id.encode() + b"\0" + answer).digest()
        self.answers = (self.answers + int.from_bytes(said)) % 2**256
        if operation == dialogue.steps[-1][0]:
            self.finished.add(dialogue.line)
        self.on_answer()

    def fail(self, dialogue: Dialogue, operation: str, problem: str) -> None:
        """An answer that is a problem."""
        if failure := self.failures.get(dialogue.line):
            failure.after += 1
        else:
            self.failures[dialogue.line] = Failure(dialogue, operation, problem)

    def lines(self, seconds: float) -> Iterator[str]:
        """The report, where all of it took so many seconds."""
        for operation, number in sorted(self.sent.items()):
            yield f"{operation:<20} {number:>8}"
        yield f"{'answered':<20} {len(self.seconds):>8}"
        yield from self._dialogues()
        if self.seconds:
            yield f"{len(self.seconds) / seconds:.0f} answers/s; {self._latencies()}"
        yield f"answers {self.digest[:16]}"

    def _dialogues(self) -> Iterator[str]:
        failed = self.failures.keys()
        cut = len(self.dialogues) - len(self.finished | failed)
        counts = f"played {len(self.finished - failed)}, failed {len(failed)}, refused {len(self.rejected)}"
        yield f"dialogues: {counts}{f', not finished {cut}' if cut else ''}"
        yield from _first([*map(str, self.failures.values())])
        yield from _first([*map(str, self.rejected)])

    def _latencies(self) -> str:
        several = len(self.seconds) > 1
        cuts = statistics.quantiles(self.seconds, n=100, method="inclusive") if several else self.seconds * 99
        percentiles = ", ".join(f"p{percent} {cuts[percent - 1] * 1000:.0f} ms" for percent in (50, 90, 99))
        return f"{percentiles}, longest {max(self.seconds) * 1000:.0f} ms"


def _first(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:SHOWN])
    if len(lines) > SHOWN:
        yield f"  and {len(lines) - SHOWN} more"
