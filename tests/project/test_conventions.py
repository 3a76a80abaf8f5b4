"""Rules of this project that no linter knows."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from src import models
from src.base import Base, ReadSchema, Record
from src.entity import Entity
from src.persistence import relations

ROOT = Path(__file__).parents[2]
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
    assert issubclass(entity.read, ReadSchema)
    assert len({operation.name for operation in entity.operations()}) == len(entity.operations())


@pytest.mark.parametrize("entity", models.entities(), ids=lambda entity: entity.name)
def test_every_foreign_key_has_a_relationship(entity: Entity) -> None:
    assert set(relations.parents(entity.model)) == {key.parent.key for key in entity.model.__table__.foreign_keys}


class Elsewhere(DeclarativeBase):
    """A registry that no other table is in."""


class Shelf(Elsewhere):
    __tablename__ = "shelves"

    id: Mapped[UUID] = mapped_column(primary_key=True)


class Book(Elsewhere):
    __tablename__ = "books"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    shelf_id: Mapped[UUID] = mapped_column(ForeignKey("shelves.id"))


def test_a_foreign_key_without_a_relationship_is_a_clear_error() -> None:
    with pytest.raises(TypeError, match=r"Book\.shelf_id is a foreign key without a relationship\(lazy=.raise.\)"):
        relations.parents(cast("type[Base]", Book))


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(models.__path__)])
def test_a_model_can_be_used_alone(name: str) -> None:
    program = f"from src.models import {name} as m; from sqlalchemy.orm import configure_mappers; configure_mappers()"
    subprocess.run([sys.executable, "-c", f"{program}; m.entity.model()"], cwd=ROOT, check=True)
