"""No row grows beyond the size of an answer: nobody could read the row any more, nor a list that contains it."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pydantic_core

from src.base import Record
from src.entity import Entity
from src.errors import ResultTooLarge, TooLarge
from src.persistence.change_tracking import ChangeTracker

RESERVE = 32
"""Bytes by which a row may still grow: later requests lengthen its version's digits and the time's microseconds."""


class RowSizeLimit:
    """Measures rows before they are committed. ``max_answer`` is in bytes."""

    def __init__(self, entities: Iterable[Entity], max_answer: int) -> None:
        self._entities: defaultdict[type[Record], list[Entity]] = defaultdict(list)
        self._max_answer = max_answer
        for entity in entities:
            self._entities[entity.model].append(entity)

    def answer(self, entity: Entity, result: Any, changes: ChangeTracker) -> bytes:
        """Return the answer to a write as JSON. Raises TooLarge for a row that has grown too large to be read.

        A row that was too large before may still shrink or be deleted: the answer is its id and version then. Raises
        ResultTooLarge for another result that is too large.
        """
        for row in changes.others(result):
            for each in self._entities[type(row)]:
                self._check(row, each.to_json(row), changes)
        body = entity.to_json(result)
        if isinstance(result, Record):
            self._check(result, body, changes)
        if len(body) <= self._max_answer:
            return body
        if not isinstance(result, Record):
            raise ResultTooLarge
        return pydantic_core.to_json({"id": result.id, "version": result.version})

    def _check(self, row: Record, body: bytes, changes: ChangeTracker) -> None:
        most = self._max_answer - RESERVE
        if len(body) > most and changes.grew(row):
            name = type(row).__name__.lower()
            raise TooLarge(f"The {name} would have {len(body)} bytes; a row may have {most}.")
