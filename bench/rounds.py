"""Several rounds of all programs, one after the other in each: what disturbs the machine disturbs them alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.programs import Program, Servers
from bench.stage import Stage
from bench.stopwatch import Measure


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


type Told = Callable[[int, Program, Measure | None], None]
"""Called as a program begins in a round, and with its measure as it ends."""


async def measure(
    programs: Sequence[Program], stage: Stage, servers: Servers, messages: int, rounds: int, tell: Told
) -> dict[str, Result]:
    """The results by the programs' names. Raises Failed."""
    measured: dict[str, list[Measure]] = {program.name: [] for program in programs}
    for number in range(rounds):
        first = number % len(programs)  # nobody always follows the same one
        for program in (*programs[first:], *programs[:first]):
            tell(number + 1, program, None)
            taken = await program.measure(stage, servers, messages)
            measured[program.name].append(taken)
            tell(number + 1, program, taken)
    return {name: Result(tuple(taken)) for name, taken in measured.items()}
