"""Findings of the doctor: one line for each check."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    """The service cannot serve, or cannot keep its guarantees."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. ``remedy`` says what to do, and is empty for a result that is ok."""

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
