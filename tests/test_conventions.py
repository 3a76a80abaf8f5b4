"""Rules of this project that no linter knows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from src import models
from src.base import Record, Row
from src.entity import Entity

ROOT = Path(__file__).parent.parent
SOURCES = [*(ROOT / "src").rglob("*.py"), ROOT / "main.py", ROOT / "broker.py", ROOT / "config.py"]


@pytest.mark.parametrize("source", [ROOT / "src/crud.py", *(ROOT / "src/models").glob("*.py")], ids=str)
def test_crud_and_entities_never_commit(source: Path) -> None:
    assert not _methods(ast.parse(source.read_text())) & {"commit", "rollback", "begin", "begin_nested"}


def _methods(tree: ast.AST) -> set[str]:
    """The names of the methods that are called."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {call.attr for call in calls if isinstance(call, ast.Attribute)}


@pytest.mark.parametrize("source", [path for path in SOURCES if path.name != "config.py"], ids=str)
def test_only_the_settings_read_the_environment(source: Path) -> None:
    assert "environ" not in source.read_text().replace("env=os.environ |", "")  # to give it on is not to read it


def test_nothing_connects_or_starts_when_it_is_imported() -> None:
    program = "import socket; socket.socket.connect = None; import main; assert main.app"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("entity", models.entities(), ids=lambda entity: entity.name)
def test_an_entity_has_what_every_entity_has(entity: Entity) -> None:
    assert issubclass(entity.model, Record)
    assert issubclass(entity.read, Row)
    assert len({operation.name for operation in entity.operations()}) == len(entity.operations())
