"""No row outgrows an answer: nobody could read it any more, nor any list that it is in."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pydantic_core

from src.base import Record
from src.entity import Entity
from src.errors import ResultTooLarge, TooLarge
from src.persistence.change_tracking import ChangeTracker

RESERVE = 32  # bytes by which a row may grow though nobody makes it: its version's digits, the microseconds


class RowSizeLimit:
    """What is measured before it is kept. ``largest`` is the size of the largest answer, in bytes."""

    def __init__(self, entities: Iterable[Entity], largest: int) -> None:
        self._readings: defaultdict[type[Record], list[Entity]] = defaultdict(list)
        self._largest = largest
        for entity in entities:
            self._readings[entity.model].append(entity)

    def answer(self, entity: Entity, result: Any, changes: ChangeTracker) -> bytes:
        """The answer to a write. Raises TooLarge where it makes a row too large to be read, and ResultTooLarge.

        A row that is too large as it was may be deleted and shrink; the answer is its id and version then.
        """
        for row in changes.beside(result):
            for reading in self._readings[type(row)]:
                self._check(row, reading.to_json(row), changes)
        body = entity.to_json(result)
        if isinstance(result, Record):
            self._check(result, body, changes)
        if len(body) <= self._largest:
            return body
        if not isinstance(result, Record):
            raise ResultTooLarge
        return pydantic_core.to_json({"id": result.id, "version": result.version})

    def _check(self, row: Record, body: bytes, changes: ChangeTracker) -> None:
        most = self._largest - RESERVE
        if len(body) > most and changes.grew(row):
            name = type(row).__name__.lower()
            raise TooLarge(f"The {name} would have {len(body)} bytes; a row may have {most}.")
