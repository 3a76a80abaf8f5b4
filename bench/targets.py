"""What the service is to reach beside the others: ratios within one run, for a figure alone says nothing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from bench.rounds import Result
from bench.stopwatch import Measure


@dataclass(frozen=True)
class Target:
    """A figure of program ``of`` is to be at least, or at most, so many times that of program ``beside``."""

    about: str
    of: str
    beside: str
    figure: str
    factor: float
    at_least: bool = False

    def reached(self, ratio: float) -> bool:
        return ratio >= self.factor if self.at_least else ratio <= self.factor

    def bound(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.factor:g}"


@dataclass(frozen=True)
class Ratio:
    """Of each round; the median counts."""

    target: Target
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def reached(self) -> bool:
        return self.target.reached(self.median)


def _faster(about: str, of: str, beside: str, factor: float) -> Target:
    return Target(f"{about}: messages/s", of, beside, "per_second", factor, at_least=True)


def _cheaper(about: str, of: str, beside: str, factor: float) -> Target:
    return Target(f"{about}: CPU a message", of, beside, "cpu_us", factor)


TARGETS = (
    _faster("create", "service", "tutorial", 11),
    _faster("create", "service", "node", 1.8),
    _faster("create", "service", "go", 1.6),
    _cheaper("create", "service", "go", 0.8),
    _cheaper("create", "service", "raw_echo", 0.5),
    _cheaper("create", "service", "faststream_echo", 0.25),
    _faster("create and reply", "service_reply", "tutorial", 9),
    _cheaper("create and reply", "service_reply", "raw_echo", 0.6),
    _cheaper("mixed load", "mixed", "service", 1.7),
    _faster("mixed load", "mixed", "tutorial_mixed", 8),
    _cheaper("duplicate", "duplicates", "service", 0.5),
    _cheaper("get, 50 at a time", "get_50", "rpc_echo_50", 0.5),
    Target("get, 1 at a time: p50", "get_1", "rpc_echo_1", "p50_ms", 1.8),
)

_FIGURES: Mapping[str, Callable[[Measure], float | None]] = {
    "per_second": lambda measure: measure.per_second,
    "cpu_us": lambda measure: measure.cpu_us,
    "p50_ms": lambda measure: measure.p50_ms,
}


def ratios(results: Mapping[str, Result]) -> Iterator[Ratio]:
    """Of those targets whose programs were both measured."""
    for target in TARGETS:
        of, beside = results.get(target.of), results.get(target.beside)
        if of and beside and (rounds := tuple(_each(target, of, beside))):
            yield Ratio(target, rounds)


def _each(target: Target, of: Result, beside: Result) -> Iterator[float]:
    figure = _FIGURES[target.figure]
    for ours, theirs in zip(of.rounds, beside.rounds, strict=True):
        if (over := figure(ours)) and (under := figure(theirs)):
            yield over / under
