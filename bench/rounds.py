"""Several rounds of all programs, one after the other in each: what disturbs the machine disturbs them alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.program import Program, Servers
from bench.screen import Step
from bench.stage import Stage
from bench.stopwatch import Measure

AMPLE = 1.5  # messages that are there, of those that could be served; what runs dry is measured for a shorter time
FEWEST = 200


@dataclass(frozen=True)
class Result:
    """What one program did in each round."""

    rounds: tuple[Measure, ...]

    @property
    def per_second(self) -> float:
        return median(measure.per_second for measure in self.rounds)

    @property
    def cpu_us(self) -> float:
        return median(measure.cpu_us for measure in self.rounds)

    @property
    def waits(self) -> dict[str, float]:
        """How long callers waited, where there are any: milliseconds by percentile."""
        return {
            name: median(waited)
            for name in ("p50_ms", "p99_ms")
            if (waited := [getattr(measure, name) for measure in self.rounds if getattr(measure, name)])
        }


@dataclass(frozen=True)
class Run:
    """A program on the stage where it is measured; ``name`` tells runs of one program apart."""

    name: str
    program: Program
    stage: Stage
    servers: Servers


type Told = Callable[[int, Run, Measure | None], None]
"""Called as a run begins in a round, and with its measure as it ends."""


async def measure(runs: Sequence[Run], seconds: float, rounds: int, tell: Told) -> dict[str, Result]:
    """The results by name, each program run for so long in each round. Raises Failed."""
    measured: dict[str, list[Measure]] = {run.name: [] for run in runs}
    for number in range(rounds):
        first = number * len(runs) // rounds  # nobody always follows the same one
        for run in (*runs[first:], *runs[:first]):
            tell(number + 1, run, None)
            messages = _ample(run.program, measured[run.name], seconds)
            taken = await run.program.measure(run.stage, run.servers, seconds, messages)
            measured[run.name].append(taken)
            tell(number + 1, run, taken)
    return {name: Result(tuple(taken)) for name, taken in measured.items()}


def telling(step: Step) -> Told:
    """What tells a person."""

    def tell(number: int, run: Run, taken: Measure | None) -> None:
        figures = f"{taken.per_second:>8,.0f}/s {taken.cpu_us:>6,.0f} µs CPU" if taken else None
        step(f"round {number}: {run.name}", figures)

    return tell


def _ample(program: Program, before: Sequence[Measure], seconds: float) -> int:
    """More messages than it will serve, as far as is known; 0 where they do not end."""
    rate = AMPLE * max(measure.per_second for measure in before) if before else program.rate
    return program.rate and max(FEWEST, int(rate * seconds))
