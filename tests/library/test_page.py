"""What docs/library.md shows is run; each line of its table does the same in process and on the wire."""

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from src import crud, models
from src.base import Record, Schema
from src.client import Client
from src.database import Database
from src.errors import IllegalTransition
from src.library import Session, Task, TaskStatus, User
from src.service import Service
from tests.library.conftest import empty
from tests.support import harness

PAGE = (harness.ROOT / "docs/library.md").read_text()
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = [block for block in BLOCKS if block.endswith("asyncio.run(main())\n")]
IMPORTS, STATEMENT, FASTAPI, CELERY = [block for block in BLOCKS if block not in PROGRAMS]
WANTED = {
    *("get", "get_multi", "create", "update", "delete", "count", "exists", "bulk_create", "bulk_update", "bulk_delete"),
    *("get_by_username", "username_exists", "get_user_with_tasks", "get_users_with_task_counts", "get_by_user"),
    *("get_by_status", "get_completed_tasks", "get_pending_tasks", "get_in_progress_tasks", "search_by_title"),
    *("get_user_tasks_by_status", "mark_completed"),
}
FLEETING = {"id", "user_id", "created_at", "updated_at", "completed_at"}
"""Of no row the same as of another, but for whether there is one."""
WRITES = {each for each in WANTED if each.startswith("bulk_")} | {"create", "update", "delete", "mark_completed"}


@dataclass(frozen=True)
class Line:
    """One of the table: a method, and what stands in its place."""

    method: str
    in_process: str
    on_the_wire: str


LINES = [Line(*found) for found in re.findall(r"^\| (\w[\w, ]*) \| `(.*)` \| `?(.*?)`? \|$", PAGE, re.MULTILINE)]
ENTITIES = {entity.model: entity for entity in models.entities()}


async def seed(database: Database) -> dict[str, Any]:
    """A user with tasks of every status, another one with none; the names that the page has at hand."""
    async with database.session() as session:
        ada = await crud.create(session, User, username="ada", attributes={"a": 1})
        await crud.create(session, User, username="zoe")
        await crud.create(session, Session, user_id=ada.id, title="of Ada")
        made = [
            await crud.create(session, Task, user_id=ada.id, title=title, description="milk", status=status)
            for title, status in zip(("buy milk", "brew", "clean", "dine"), TaskStatus, strict=True)
        ]
    task_ids = [each.id for each in made]
    return {"user_id": ada.id, "task_id": made[0].id, "task_ids": task_ids, "username": "ada", "names": ["b", "c"]}


async def run(code: str, names: dict[str, Any]) -> Any:
    """What the expression comes to."""
    result = eval(compile(code, "docs/library.md", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    return await result if asyncio.iscoroutine(result) else result


def plain(result: Any) -> Any:
    """What is told of a result, but for what is fleeting, in the words of the wire."""
    match result:
        case Record():
            told = plain(json.loads(ENTITIES[type(result)].to_json(result)))
        case Schema():
            told = plain(result.model_dump(mode="json", by_alias=True))
        case {"count": told} | {"exists": told}:
            pass
        case {"items": items, "next": _}:
            told = plain(items)
        case dict():
            told = {name: value is None if name in FLEETING else plain(value) for name, value in result.items()}
        case list() | tuple():
            told = [plain(each) for each in result]
        case _:
            told = result
    return told


async def written(database: Database) -> dict[str, Any]:
    """All that the tables hold, but for what is fleeting and the service's own."""
    found: dict[str, Any] = {}
    async with database.reading() as session:
        for model in ENTITIES:
            rows = await crud.list(session, model, {}, ["id"])
            found[model.__name__] = sorted(json.dumps(plain(row)) for row in rows)
    return found


def as_json(value: Any) -> Any:
    """The same, as it is said on the wire."""
    return json.loads(json.dumps(value, default=str))


@pytest.fixture(scope="module")
async def serving(made_url: str, rabbitmq_url: str) -> AsyncIterator[Service]:
    """The service over the database."""
    async with harness.named(made_url, rabbitmq_url) as settings, harness.running(settings) as service:
        yield service


@pytest.fixture
async def db(serving: Service) -> AsyncIterator[Client]:
    async with harness.connected(serving.settings) as client:
        yield client


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.method)
async def test_each_line_does_the_same_in_process_and_on_the_wire(line: Line, database: Database, db: Client) -> None:
    names: dict[str, Any] = {}
    exec(IMPORTS, names)
    given = await seed(database)
    before = await written(database)
    async with database.session() as session:
        result = await run(line.in_process, names | given | {"session": session})
        await session.flush()
        told = plain(result) if isinstance(result, Record | Schema | Sequence | int) else None
    here = await written(database)
    method = line.method.partition(",")[0]
    assert (here != before) == (method in WRITES)
    assert told is not None or method.startswith("bulk_")
    asked = next(each.on_the_wire for each in LINES if each.method == method)  # one by one, where there is no other way
    await empty(database)
    answer = plain(await run(asked, names | as_json(await seed(database)) | {"db": db}))
    assert await written(database) == here
    assert told is None or told == answer


def test_the_table_has_every_method() -> None:
    assert {line.method for line in LINES} >= WANTED


@pytest.mark.parametrize("program", PROGRAMS)
async def test_each_program_runs(program: str, url: str) -> None:
    environment = os.environ | {"DATABASE_URL": url}
    command = [sys.executable, "-c", program]
    ended = await asyncio.to_thread(
        subprocess.run, command, cwd=harness.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


async def test_the_statement_counts_versions(database: Database) -> None:
    names: dict[str, Any] = {}
    exec(IMPORTS, names)
    given = await seed(database)
    async with database.session() as session:
        await run(STATEMENT, names | {"session": session})
    async with database.reading() as session:
        for task in await crud.list(session, Task, {"user_id": given["user_id"]}):
            pending = task.status == TaskStatus.PENDING
            assert (task.title == "later", task.version) == (pending, 1 + pending)
            assert (task.updated_at > task.created_at) >= pending


async def test_the_application_serves(of_process: Database) -> None:
    names: dict[str, Any] = {}
    exec(FASTAPI, names)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(names["app"]), base_url="http://test") as http:
        made = (await http.post("/users", json={"username": "ada"})).json()
        assert (await http.get(f"/users/{made['id']}")).json() == made
    async with of_process.reading() as session:
        assert (await crud.get(session, User, uuid.UUID(made["id"]))).username == "ada"


async def test_the_celery_task_runs_in_loops_of_its_own(of_process: Database) -> None:
    names: dict[str, Any] = {}
    exec(CELERY, names)
    given = await seed(of_process)
    await asyncio.to_thread(names["complete"], str(given["task_id"]))
    with pytest.raises(IllegalTransition):
        await asyncio.to_thread(names["complete"], str(given["task_id"]))
    async with of_process.reading() as session:
        assert (await crud.get(session, Task, given["task_id"])).status == TaskStatus.COMPLETED
