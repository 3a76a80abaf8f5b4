"""The application of examples/fastapi serves what its page says, over each database."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import httpx
import pytest
from fastapi import FastAPI

from dev import ports
from examples.fastapi import app as example
from examples.fastapi import problems
from src import library
from src.database import Database
from src.library import CurrentSession, User
from tests.library.conftest import execute
from tests.support import harness, pages

PAGE = "docs/library.md"
(COMMAND,) = pages.commands(PAGE, "make example")
PROBLEM = "application/problem+json"


@pytest.fixture
async def http(of_process: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which has started."""
    transport = httpx.ASGITransport(example.app)
    async with example.lifespan(example.app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def ada(http: httpx.AsyncClient) -> dict[str, Any]:
    made: dict[str, Any] = said(await http.post("/users", json={"username": "ada"}), 201)
    return made


def said(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json() if response.content else None


def problem(response: httpx.Response, status: int) -> str:
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM), response.text
    assert response.json()["status"] == status
    return str(response.json()["type"]).removeprefix("urn:db:problem:")


async def test_a_user_is_made_read_changed_and_deleted(http: httpx.AsyncClient, ada: dict[str, Any]) -> None:
    path = f"/users/{ada['id']}"
    assert said(await http.get(path)) == ada
    changed = said(await http.patch(path, json={"name": "Ada"}, params={"version": 1}))
    assert (changed["name"], changed["version"]) == ("Ada", 2)
    assert changed["updated_at"] > ada["updated_at"]
    assert said(await http.get(path)) == changed
    assert problem(await http.delete(path, params={"version": 1}), 412) == "version-mismatch"
    assert said(await http.delete(path), 204) is None
    assert problem(await http.get(path), 404) == "not-found"


async def test_what_goes_wrong_is_a_problem_and_changes_nothing(http: httpx.AsyncClient, ada: dict[str, Any]) -> None:
    assert problem(await http.post("/users", json={"username": "ada"}), 409) == "conflict"
    assert problem(await http.post("/users", json={"username": 3}), 422) == "invalid"
    assert problem(await http.get("/users/nobody"), 422) == "invalid"
    assert problem(await http.get("/users", params={"limit": 0}), 422) == "invalid"
    assert problem(await http.post(f"/users/{example.__name__}/tasks", json={"title": "?"}), 422) == "invalid"
    nobody = "00000000-0000-0000-0000-000000000000"
    assert problem(await http.post(f"/users/{nobody}/tasks", json={"title": "?"}), 409) == "foreign-key"
    response = await http.post("/users", json={})
    assert response.json()["errors"] == [{"pointer": "/username", "message": "Field required"}]
    assert said(await http.get("/users")) == {"items": [ada], "next": None}


async def test_tasks_are_completed_once(http: httpx.AsyncClient, ada: dict[str, Any]) -> None:
    task = said(await http.post(f"/users/{ada['id']}/tasks", json={"title": "write"}), 201)
    done = said(await http.post(f"/tasks/{task['id']}/complete"))
    assert (done["status"], done["version"]) == ("completed", 2)
    assert problem(await http.post(f"/tasks/{task['id']}/complete"), 409) == "illegal-transition"
    tasks = f"/users/{ada['id']}/tasks"
    assert said(await http.get(tasks, params={"status": "completed"}))["items"] == [done]
    assert said(await http.get(tasks, params={"status": "pending"}))["items"] == []


async def test_pages_follow_each_other(http: httpx.AsyncClient) -> None:
    for name in "abcde":
        said(await http.post("/users", json={"username": name}), 201)
    names, offset = [], 0
    while offset is not None:
        page = said(await http.get("/users", params={"limit": 2, "offset": offset}))
        names.append("".join(each["username"] for each in page["items"]))
        offset = page["next"]
    assert names == ["ab", "cd", "e"]


async def test_the_health_is_the_databases(http: httpx.AsyncClient, of_process: Database) -> None:
    assert said(await http.get("/health"))["schema"] == "current"
    await execute(of_process, "UPDATE alembic_version SET version_num = '0001'")
    assert said(await http.get("/health"), 503)["schema"] == "behind"
    await of_process.drop_tables()
    await of_process.create_tables()


async def test_it_does_not_begin_with_a_schema_that_is_behind(of_process: Database) -> None:
    await of_process.drop_tables()
    with pytest.raises(example.Unfit, match=r"its schema is behind: \./db migrate"):
        async with example.lifespan(example.app):
            pass
    await of_process.create_tables()


async def test_a_database_that_goes_away_is_a_problem(http: httpx.AsyncClient) -> None:
    away = Database(f"postgresql://ada@127.0.0.1:{ports.free(1)[0]}/db")
    with (
        mock.patch.object(library, "database", return_value=away),
        mock.patch.object(example, "database", return_value=away),
    ):
        response = await http.get("/users")
        assert problem(response, 503) == "about:blank"
        assert (response.json()["retryable"], response.headers["retry-after"]) == (True, "1")
        assert said(await http.get("/health"), 503)["reachable"] is False


async def test_nobody_is_told_of_what_the_commit_refuses(of_process: Database) -> None:
    app = FastAPI()
    problems.handle(app)

    @app.post("/twins", status_code=201)
    async def create(session: CurrentSession) -> None:
        session.add_all([User(username="ada"), User(username="ada")])

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert problem(await client.post("/twins"), 409) == "conflict"


async def test_the_command_of_the_page_starts_it(own_database_url: str, rabbitmq_url: str) -> None:
    port = ports.free(1)[0]
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f"exec {COMMAND} ARGS='--port {port}'"),
        cwd=harness.ROOT,
        env=os.environ | {"DATABASE_URL": own_database_url, "RABBITMQ_URL": rabbitmq_url},
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr
        await process.stderr.readuntil(b"Uvicorn running")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert said(await client.get("/health"))["ok"]
            assert said(await client.post("/users", json={"username": "ada"}), 201)["version"] == 1
    finally:
        os.killpg(process.pid, signal.SIGINT)
        await process.wait()
