"""Commands whose request is a small program about folders, papers and stickers.

A program's steps are what an ordinary handler does, one after the other, through ``crud``.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, Union, cast
from uuid import UUID

from pydantic import Field, create_model
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncSession

from src import crud
from src.base import Record, RowRef, Schema
from src.entity import Entity
from src.errors import IllegalTransition
from src.operations import common
from src.persistence import relations
from tests.support import folders
from tests.support.folders import Folder, Noted, folder

ENTITIES = folders.ENTITIES
"""With the commands below."""


class Run:
    """One program while it runs: the rows that it holds, and what it has seen."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.held: dict[tuple[type[Record], UUID], Any] = {}
        self.seen: list[Any] = []

    def see(self, entity: Entity, row: Record) -> None:
        """Hold the row, and note how it is."""
        self.held[entity.model, row.id] = row
        self.seen.append(entity.read.model_validate(row).model_dump(mode="json", by_alias=True))


type Do = Callable[[Run, Entity, Any], Awaitable[None]]


async def create(run: Run, entity: Entity, step: Any) -> None:
    run.see(entity, await crud.create(run.session, entity.model, **_without(step, "do")))


async def update(run: Run, entity: Entity, step: Any) -> None:
    changes = {name: getattr(step, name) for name in step.model_fields_set - {"do", "id", "version"}}
    run.see(entity, await crud.update(run.session, entity.model, step.id, changes, step.version))


async def change(run: Run, entity: Entity, step: Any) -> None:
    """Set attributes of a row, of the one that is held if any."""
    row = run.held.get((entity.model, step.id)) or await crud.get(run.session, entity.model, step.id, step.version)
    for name in step.model_fields_set - {"do", "id", "version"}:
        setattr(row, name, getattr(step, name))


async def delete(run: Run, entity: Entity, step: Any) -> None:
    row = await crud.delete(run.session, entity.model, step.id, step.version)
    run.held.pop((entity.model, row.id), None)


async def get(run: Run, entity: Entity, step: Any) -> None:
    run.see(entity, await crud.get(run.session, entity.model, step.id, step.version))


async def find(run: Run, entity: Entity, step: Any) -> None:
    run.see(entity, await crud.find(run.session, entity.model, **_without(step, "do")))


async def list_(run: Run, entity: Entity, step: Any) -> None:
    """Look at rows; change each where there is a text."""
    for row in await crud.list(run.session, entity.model, _where(step), order=["id"]):
        run.see(entity, row)
        if step.text is not None:
            cast("Any", row).text = step.text


async def count(run: Run, entity: Entity, step: Any) -> None:
    run.seen.append(await crud.count(run.session, entity.model, _where(step)))


async def exists(run: Run, entity: Entity, step: Any) -> None:
    run.seen.append(await crud.exists(run.session, entity.model, _where(step)))


async def refuse(run: Run, entity: Entity, step: Any) -> None:
    raise IllegalTransition


async def swallow(run: Run, entity: Entity, step: Any) -> None:
    """A statement is refused, and nobody is told."""
    with contextlib.suppress(exc.DBAPIError):
        await run.session.execute(text("SELEKT 1"))


async def explain(run: Run, entity: Entity, step: Any) -> None:
    """A statement is refused, and the handler makes a problem of it."""
    try:
        await run.session.execute(text("SELEKT 1"))
    except exc.DBAPIError:
        raise IllegalTransition from None


async def cope(run: Run, entity: Entity, step: Any) -> None:
    """A statement is refused, and the handler looks for a way out."""
    try:
        await run.session.execute(text("SELEKT 1"))
    except exc.DBAPIError:
        run.see(entity, await crud.get(run.session, entity.model, UUID(int=1)))


async def risk(run: Run, entity: Entity, step: Any) -> None:
    """A statement is refused under a savepoint of the handler's own, and nobody is told."""
    with contextlib.suppress(exc.DBAPIError):
        async with run.session.begin_nested():
            await run.session.execute(text("SELEKT 1"))


def _without(step: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in step.__dict__.items() if name not in names}


def _where(step: Any) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.model_fields_set - {"do", "text"}}


def _schemas(entity: Entity) -> dict[str, tuple[Do, type[Schema]]]:
    """The steps of one entity: what each does, and what it asks for."""
    assert entity.create
    assert entity.update
    by_parent = _schema(Schema, **dict.fromkeys(relations.parents(entity.model), (UUID | None, None)))
    steps: dict[str, tuple[Do, type[Schema]]] = {
        "create": (create, _schema(entity.create, id=(UUID, ...))),
        "update": (update, common.updating(entity.model, entity.update)),
        "change": (change, _schema(Noted, RowRef)),
        "delete": (delete, RowRef),
        "get": (get, RowRef),
        "list": (list_, _schema(by_parent, text=(str | None, None))),
        "count": (count, by_parent),
        "exists": (exists, by_parent),
    }
    for unique in relations.uniques(entity.model):
        steps["find"] = (find, _schema(Schema, **dict.fromkeys(unique, (str, ...))))
    return steps


def _schema(*bases: type[Schema], **fields: Any) -> type[Schema]:
    return cast("type[Schema]", create_model("Step", __base__=bases, **fields))


TROUBLE: dict[str, Do] = {"refuse": refuse, "swallow": swallow, "explain": explain, "cope": cope, "risk": risk}
DOES: dict[str, tuple[Do, Entity]] = {name: (does, folder) for name, does in TROUBLE.items()}
STEPS: dict[str, type[Schema]] = {name: _schema(Schema, do=(Literal[name], ...)) for name in TROUBLE}
for each in ENTITIES:
    for verb, (does, asks) in _schemas(each).items():
        DOES[f"{verb} {each.name}"] = (does, each)
        STEPS[f"{verb} {each.name}"] = _schema(asks, do=(Literal[f"{verb} {each.name}"], ...))
Step: Any = Annotated[Union[tuple(STEPS.values())], Field(discriminator="do")]  # noqa: UP007 - of a list


class Program(Schema):
    steps: Annotated[list[Step], Field(max_length=8)]


class ProgramOf(Program):
    """A program that is about one folder."""

    id: UUID


class Report(Schema):
    seen: list[Any]


async def run_program(session: AsyncSession, program: Program) -> Run:
    run = Run(session)
    for step in program.steps:
        do, entity = DOES[step.do]
        await do(run, entity, step)
    return run


@folder.command("run", emits="ran")
async def run_about(session: AsyncSession, request: ProgramOf) -> Folder:
    """Run the program; answer the folder."""
    await run_program(session, request)
    return await crud.get(session, Folder, request.id)


@folder.command("report", emits="reported")
async def report(session: AsyncSession, request: Program) -> Report:
    """Run the program; answer what it has seen."""
    return Report(seen=(await run_program(session, request)).seen)
