"""A mutant: the source with one rule broken on purpose, and the tests that must notice."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """In ``file`` the text ``old`` becomes ``new``; each of ``tests`` must fail then, and pass before."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]
