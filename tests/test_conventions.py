"""Rules of this project that no linter knows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from src import models
from src.base import Row, Timestamped, Versioned
from src.entity import Entity

ROOT = Path(__file__).parent.parent
SOURCES = [*(ROOT / "src").rglob("*.py"), ROOT / "main.py", ROOT / "broker.py", ROOT / "config.py"]


@pytest.mark.parametrize("source", [ROOT / "src/crud.py", *(ROOT / "src/models").glob("*.py")], ids=str)
def test_crud_and_entities_never_commit(source: Path) -> None:
    called = {node.func.attr for node in ast.walk(ast.parse(source.read_text())) if _is_method_call(node)}
    assert not called & {"commit", "rollback", "begin", "begin_nested"}


def _is_method_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)


@pytest.mark.parametrize("source", [path for path in SOURCES if path.name != "config.py"], ids=str)
def test_only_the_settings_read_the_environment(source: Path) -> None:
    assert "environ" not in source.read_text().replace("env=os.environ |", "")  # to give it on is not to read it


def test_nothing_connects_or_starts_when_it_is_imported() -> None:
    program = "import socket; socket.socket.connect = None; import main; assert main.app"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("entity", models.entities(), ids=lambda entity: entity.name)
def test_an_entity_has_what_every_entity_has(entity: Entity) -> None:
    assert issubclass(entity.model, Timestamped)
    assert issubclass(entity.model, Versioned)
    assert issubclass(entity.read, Row)
    assert len({operation.name for operation in entity.operations()}) == len(entity.operations())
