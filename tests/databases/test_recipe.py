"""A migration for every kind of column is written, runs on every database, and leaves no difference."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import database
from tests.support import forked, harness

LANDED = "69fda5fff6386b3645a10b79ff0c490522dfb318a3534d0b635093720e4ef68b"
"""The sha256 of what 0001 to 0003 are as SQL for PostgreSQL, which runs on databases that they have made."""

MIGRATE = """
from alembic.config import main
main(["upgrade", "head"])
main(["revision", "--autogenerate", "-m", "measures"])
main(["upgrade", "head"])
main(["check"])
main(["downgrade", "-1"])
main(["upgrade", "head"])
"""
KINDS = {
    "id": "columns.Identifier",
    "name": "columns.Key",
    "place": "columns.Key",
    "note": "columns.Text",
    "short": "sa.String(length=5)",
    "small": "sa.SmallInteger",
    "number": "sa.Integer",
    "big": "sa.BigInteger",
    "ratio": "columns.Number",
    "exact": "sa.Boolean",
    "grade": "columns.Word",
    "taken_at": "columns.Moment",
    "tag": "columns.Identifier",
    "parent_id": "columns.Identifier",
    "detail": "columns.Json",
    "created_at": "columns.Moment",
    "updated_at": "columns.Moment",
    "version": "sa.Integer",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project that has one entity more."""
    copy = tmp_path / "tree"
    shutil.copytree(harness.ROOT, copy, ignore=shutil.ignore_patterns(".*", "tests", "docs"))
    source = (harness.ROOT / "tests/databases/measures.py").read_text()
    (copy / "src/models/measure.py").write_text(source.replace("class Measure(OfMeasures)", "class Measure(Record)"))
    return copy


@pytest.fixture(params=["found", "sqlite"])
def empty_url(request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """A database of its kind with nothing in it."""
    server = postgres_url if request.param == "found" else f"sqlite:///{tmp_path}/empty.db"
    with database.fresh(server, "db_recipe") as url:
        yield url


def test_an_entity_with_every_kind_of_column_gets_its_migration(empty_url: str, tree: Path) -> None:
    environment = os.environ | {"DATABASE_URL": empty_url, "PYTHONPATH": str(tree)}
    ended = subprocess.run(
        [sys.executable, "-c", MIGRATE], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (written,) = (tree / "migrations/versions").glob("*measures.py")
    assert dict(re.findall(r"sa.Column\(\s*[\"'](\w+)[\"'], ([\w.]+(?:\(length=5\))?)", written.read_text())) == KINDS


def test_landed_migrations_are_the_same_sql_for_ever() -> None:
    url = "postgresql://postgres@127.0.0.1/nowhere"
    ended = forked.run("alembic", "upgrade", "0003", "--sql", DATABASE_URL=url)
    assert hashlib.sha256(ended.out.encode()).hexdigest() == LANDED
