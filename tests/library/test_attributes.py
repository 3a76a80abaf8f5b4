"""crud takes the columns of a model and the collections of a row, and no other attribute that a class has."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud
from src.base import Record, columns
from src.database import Database
from src.models.chat import Chat
from src.models.session import Session

type Call = Callable[[AsyncSession, type[Record], str], Awaitable[object]]

COLLECTIONS = {Session: set[str](), Chat: {"members"}}


async def _update(session: AsyncSession, model: type[Record], name: str) -> object:
    row = await crud.create(session, model, **({"platform": "p", "external_id": str(uuid4())} if model is Chat else {}))
    return await crud.update(session, model, row.id, {name: {}})


WRITES: dict[str, Call] = {
    "create": lambda session, model, name: crud.create(session, model, **{name: {}}),
    "update": _update,
}
READS: dict[str, Call] = {
    "find": lambda session, model, name: crud.find(session, model, **{name: "x"}),
    "list": lambda session, model, name: crud.list(session, model, {name: "x"}),
    "list null": lambda session, model, name: crud.list(session, model, {name: None}),
    "order": lambda session, model, name: crud.list(session, model, {}, [name]),
    "count": lambda session, model, name: crud.count(session, model, {name: "x"}),
    "exists": lambda session, model, name: crud.exists(session, model, {name: "x"}),
}
ARGUMENTS = {"session", "model", "row_id", "where", "order", "limit", "offset", "self"}
"""Names that Python takes for parameters."""


def others(model: type[Record], known: set[str]) -> list[str]:
    """Every attribute of the class that is none of the known ones, and a name that it does not have."""
    return sorted({*dir(model), "nothing", *inspect(model).relationships.keys()} - known - ARGUMENTS)


@pytest.mark.parametrize("model", COLLECTIONS)
@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
async def test_what_stores_nothing_cannot_be_written(database: Database, model: type[Record], call: Call) -> None:
    for name in others(model, {*columns(model)} | COLLECTIONS[model]):
        async with database.session() as session:
            with pytest.raises(TypeError, match=name):
                await call(session, model, name)


@pytest.mark.parametrize("model", COLLECTIONS)
@pytest.mark.parametrize("call", READS.values(), ids=READS)
async def test_what_is_no_column_cannot_be_compared(database: Database, model: type[Record], call: Call) -> None:
    for name in others(model, {*columns(model)}):
        async with database.reading() as session:
            with pytest.raises(TypeError, match=name):
                await call(session, model, name)


@pytest.mark.parametrize("call", [*WRITES.values(), *READS.values()], ids=[*WRITES, *READS])
async def test_the_name_on_the_wire_is_answered_with_that_of_the_attribute(database: Database, call: Call) -> None:
    async with database.session() as session:
        with pytest.raises(TypeError, match="the attribute of the column metadata is 'meta'"):
            await call(session, Session, "metadata")


@pytest.mark.parametrize("name", ["metadata", "registry", "nothing", "__table__"])
def test_a_row_is_not_made_of_what_stores_nothing(name: str) -> None:
    values: dict[str, Any] = {name: {}}
    with pytest.raises(TypeError, match=name):
        Session(**values)
