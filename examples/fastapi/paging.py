"""Pages of a list: ``?limit=50&offset=0``; ``next`` is the offset of the next one."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field


class Page[T](BaseModel):
    """``next`` is null on the last one."""

    items: Sequence[T]
    next: int | None


class _Paging(BaseModel):
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    offset: Annotated[int, Field(ge=0, le=2**62)] = 0

    def page[T](self, found: Sequence[T]) -> Page[T]:
        """What was found, of which one more than ``limit`` was asked for."""
        more = len(found) > self.limit
        return Page(items=found[: self.limit], next=self.offset + self.limit if more else None)


Paging = Annotated[_Paging, Query()]
