"""The map of a session that only reads: no locks, and no more bytes than an answer may have."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from src.base import Record
from src.persistence import chunked_reads, loading
from src.persistence.chunked_reads import ChunkedReader, Selection
from src.persistence.identity_map import IdentityMap


@dataclass(eq=False)
class ReadMap(IdentityMap):
    """The rows of one read-only session. The rows that one request selects have at most ``max_answer`` bytes."""

    locks: ClassVar[bool] = False

    max_answer: float = math.inf
    _reader: ChunkedReader | None = None

    def begin(self) -> None:
        """Begin a request: the bytes of its rows count from zero."""
        self._reader = None

    async def get(self, model: type[Record], row_id: UUID) -> Record | None:
        if (model, row_id) not in self._by_id:
            await self._load(model, {row_id})
        return self._by_id[model, row_id]

    async def select[M: Record](self, selection: Selection[M], values: Mapping[str, Any]) -> Sequence[M]:
        """Return the selected rows. Raises ResultTooLarge."""
        self._reader = self._reader or ChunkedReader(self.session, self.dialect, self.max_answer)
        return await self._reader.select(selection, values)

    async def _query[M: Record](self, model: type[M], ids: Collection[UUID]) -> Sequence[M]:
        """Load the rows. Raises ResultTooLarge for several rows that are too large to be loaded together."""
        if len(ids) == 1:
            return await loading.rows(self.session, self.dialect, model, ids, lock=False)
        return await chunked_reads.load(self.session, self.dialect, model, ids)
