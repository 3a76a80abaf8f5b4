"""What the README says is so: its entity is added by one file, its first request works."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import config
from src import models
from tests import harness

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


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
    (tree / "src/models/note.py").write_text(_code('"""Something to remember'))
    await asyncio.to_thread(_run, MIGRATE, tree, settings)
    async with Elsewhere(tree, settings) as service, harness.connected(settings) as client:
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


async def test_the_first_request_from_python_works(service: object, settings: config.Settings) -> None:
    program = _code("import asyncio\n").replace(
        "amqp://guest:guest@127.0.0.1/", settings.rabbitmq_url.get_secret_value()
    )
    program = program.replace(") as db:", f', service="{settings.service_name}") as db:')
    said = await asyncio.to_thread(_run, program, ROOT, settings)
    assert "'status': 'completed'" in said


def test_every_operation_is_in_the_table() -> None:
    own = {operation.key for entity in models.entities() for operation in entity.own}
    table = re.findall(r"^\|(.*?)\|", README, re.MULTILINE)
    entity, named = "", set()
    for row in table:
        for name in re.findall(r"`([^`]+)`", row):
            entity = name.partition(".")[0] or entity
            named.add(name if not name.startswith(".") else entity + name)
    assert own == named


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert os.access(ROOT / ".ci/run", os.X_OK)
