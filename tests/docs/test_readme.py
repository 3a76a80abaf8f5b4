"""What the README says is so: its entity is added by one file, its first request works."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

import config
from dev.postgres import PostgresServer
from tests.support import harness, pages

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEMO, TEST = pages.commands(pages.README, "make (demo|test)")
UP, MIGRATE, SERVE, CALL, WATCH = pages.commands(pages.README, r"make up|\./db (migrate|serve|call|watch)")
RECIPE = pages.commands(pages.README, "make (db-|reference|check)")
NOTE = '"""Something to remember'
REFERENCE_TEST = "dev/uv.sh run pytest tests/contract/test_reference.py::test_the_page_is_what_the_source_says"


def _code(beginning: str) -> str:
    """The Python block that begins so."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(beginning)]
    return found


def _run(program: str, tree: Path, settings: config.Settings) -> str:
    environment = harness.environment(settings) | {"PYTHONPATH": str(tree)}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


MIGRATE = """
from alembic.config import main
main(["revision", "--autogenerate", "-m", "notes"])
main(["upgrade", "head"])
main(["check"])
"""


class Elsewhere(harness.Process):
    """The ``main.py serve`` of another tree."""

    def __init__(self, tree: Path, settings: config.Settings) -> None:
        super().__init__(settings, PYTHONPATH=str(tree))
        self._tree = tree

    def _start(self) -> subprocess.Popen[bytes]:
        program = [sys.executable, "main.py", "serve"]
        return subprocess.Popen(program, cwd=self._tree, env=self._environment, stderr=subprocess.PIPE)


async def test_one_file_and_its_migration_add_an_entity(settings: config.Settings, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "tests", "docs"))
    (tree / "src/models/note.py").write_text(_code(NOTE))
    await asyncio.to_thread(_run, MIGRATE, tree, settings)
    async with Elsewhere(tree, settings) as service:
        await _assert_served(service, settings)


async def _assert_served(service: harness.Process, settings: config.Settings) -> None:
    """The service of this tree has the note with all that the README says of it."""
    async with harness.connected(settings) as client:
        await service.consuming()
        async with client.events("note.#") as events:
            session = await client.call("session.create", {})
            note = await client.call("note.create", {"session_id": session["id"], "text": "remember"})
            pinned = await client.call("note.pin", {"id": note["id"]})
            assert (pinned["pinned"], pinned["version"]) == (True, 2)
            assert await client.call("note.list", {"where": {"pinned": True}}) == {"items": [pinned], "next": None}
            await client.call("session.delete", {"id": session["id"]})
            assert await client.call("note.count", {}) == {"count": 0}
            assert [(await anext(aiter(events))).name for _ in range(2)] == ["note.created", "note.pinned"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A clone in a folder of its own."""
    pages.clone(tmp_path)
    return tmp_path


@pytest.fixture
def found_by_make(copy: Path) -> Iterator[PostgresServer]:
    """The private PostgreSQL of the copy, as `make up` leaves it."""
    with PostgresServer(copy / ".servers/postgres") as server:
        yield server


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_recipe_works_to_the_letter(copy: Path, found_by_make: PostgresServer, rabbitmq_url: str) -> None:
    (copy / "src/models/note.py").write_text(_code(NOTE))
    refusal = await asyncio.to_thread(_ended, copy, REFERENCE_TEST)
    assert "make reference" in refusal.stdout
    for command in (*RECIPE, REFERENCE_TEST):
        await _succeeds(copy, command)
    async with (
        harness.isolated(found_by_make.url, _made(found_by_make), rabbitmq_url) as settings,
        Elsewhere(copy, settings) as service,
    ):
        await _assert_served(service, settings)
    for command in ('make db-migrate-new m="nothing more"', "make check"):  # imports that it does not use are left out
        await _succeeds(copy, command)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_demo_and_the_tests_need_nothing_set_up(copy: Path) -> None:
    try:
        for command in (DEMO, f"{TEST} ARGS=tests/persistence/test_chunked_reads.py"):
            await _succeeds(copy, command)
    finally:
        await _succeeds(copy, "make down")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_first_request_works_to_the_letter(copy: Path) -> None:
    try:
        await _succeeds(copy, UP)
        await _succeeds(copy, MIGRATE)
        async with _running(copy, SERVE):
            await harness.eventually(lambda: _called(copy, CALL), CALL)
            async with _running(copy, WATCH) as watching:
                heard = asyncio.create_task(watching.readuntil(b"session.created"))
                await harness.eventually(lambda: _called(copy, CALL, heard), "what happens is watched")
    finally:
        await _succeeds(copy, "make down")
    assert not (copy / ".servers/urls").exists()


def _made(server: PostgresServer) -> str:
    """The database of its own that `make` has there."""
    return make_url(server.url).set(database="db").render_as_string(hide_password=False)


async def _called(tree: Path, call: str, heard: asyncio.Task[bytes] | None = None) -> bool:
    """Whether the service answers, and what it does is heard where somebody listens."""
    answered = (await asyncio.to_thread(_ended, tree, call)).returncode == 0
    return answered and (heard is None or heard.done())


@asynccontextmanager
async def _running(tree: Path, command: str) -> AsyncIterator[asyncio.StreamReader]:
    """What the command prints while it runs; it is ended as one is by Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f"exec {command}"), cwd=tree, env=_stranger(), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        yield process.stdout
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def _succeeds(tree: Path, command: str) -> None:
    ended = await asyncio.to_thread(_ended, tree, command)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"


def _ended(tree: Path, command: str) -> subprocess.CompletedProcess[str]:
    """The command, run in this tree."""
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=tree, env=_stranger(), capture_output=True, text=True, check=False
    )


def _stranger() -> dict[str, str]:
    """The environment of somebody who has named no server and is in no virtual environment."""
    foreign = {"DATABASE_URL", "RABBITMQ_URL", "AMQP_URL", "VIRTUAL_ENV", "MAKEFLAGS"}
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    return environment | {"DEV_SERVERS": "private"}


async def test_the_first_request_from_python_works(service: object, settings: config.Settings) -> None:
    named = f'Client(RABBITMQ_URL, "{settings.service_name}")'
    program = _code("import asyncio\n").replace("Client(RABBITMQ_URL)", named)
    said = await asyncio.to_thread(_run, program, ROOT, settings)
    assert "'status': 'completed'" in said


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert os.access(ROOT / ".ci/run", os.X_OK)
