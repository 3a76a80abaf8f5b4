"""What an examination comes to: a line for each thing that was looked at."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    """Nothing is served, or the promise does not hold."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``remedy`` is what to do about it, where that is anything."""

    level: Level
    what: str
    remedy: str = ""

    @property
    def line(self) -> str:
        text = f"{self.level.value:8} {self.what}{'. ' if self.remedy else ''}{self.remedy}"
        return " ".join(text.splitlines())


def ok(what: str) -> Finding:
    return Finding(Level.OK, what)


def warning(what: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, what, remedy)


def broken(what: str, remedy: str) -> Finding:
    return Finding(Level.BROKEN, what, remedy)
