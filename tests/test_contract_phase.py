"""``make db-migrate-new`` writes no migration that the version before cannot work with, unless it is told to."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from dev import contract_phase
from dev.contract_phase import Contraction
from tests.support import pages

TABLE = "things"

type Columns = list[sa.schema.SchemaItem]


def _columns() -> Columns:
    return [
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20), nullable=True),
        sa.Column("size", sa.Integer, server_default="1", nullable=False),
        sa.Column("owner_id", sa.Integer),
        sa.UniqueConstraint("size", name="uq_size"),
        sa.Index("ix_owner", "owner_id"),
    ]


def _without(name: str) -> Columns:
    return [each for each in _columns() if getattr(each, "name", None) != name]


def _with(*items: sa.schema.SchemaItem) -> Columns:
    """The columns of before, but that those of the same name are replaced."""
    names = {getattr(each, "name", None) for each in items}
    return [*(each for each in _columns() if getattr(each, "name", None) not in names), *items]


def _metadata(table: str, columns: Columns) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table(table, metadata, *sorted(columns, key=lambda each: not isinstance(each, sa.Column)))
    return metadata


CONTRACTS = {
    "a column is dropped": (_without("name"), contract_phase.DROP),
    "a column is renamed": ([*_without("name"), sa.Column("title", sa.String(20))], contract_phase.RENAME),
    "a column becomes NOT NULL": (_with(sa.Column("name", sa.String(20), nullable=False)), contract_phase.NULLABLE),
    "a NOT NULL column without a default": (
        _with(sa.Column("new", sa.Integer, nullable=False)),
        contract_phase.NULLABLE,
    ),
    "a default is dropped": (_with(sa.Column("size", sa.Integer, nullable=False)), contract_phase.DEFAULT),
    "text becomes shorter": (_with(sa.Column("name", sa.String(10))), contract_phase.NARROWER),
    "a number becomes smaller": (
        _with(sa.Column("size", sa.SmallInteger, server_default="1", nullable=False)),
        contract_phase.NARROWER,
    ),
    "a type becomes another": (_with(sa.Column("owner_id", sa.Date)), contract_phase.NARROWER),
    "a unique constraint is dropped": (_without("uq_size"), contract_phase.DROP),
    "a unique constraint is added": (_with(sa.UniqueConstraint("name", name="uq_name")), contract_phase.RULE),
    "a unique index is added": (_with(sa.Index("ix_name", "name", unique=True)), contract_phase.RULE),
    "a foreign key is added": (
        _with(sa.ForeignKeyConstraint(["owner_id"], ["things.id"], name="fk_owner")),
        contract_phase.RULE,
    ),
}
EXPANDS = {
    "nothing": _columns(),
    "a nullable column": _with(sa.Column("new", sa.Integer)),
    "a NOT NULL column with a default": _with(sa.Column("new", sa.Integer, server_default="1", nullable=False)),
    "longer text": _with(sa.Column("name", sa.String(30))),
    "unbounded text": _with(sa.Column("name", sa.Text)),
    "a larger number": _with(sa.Column("size", sa.BigInteger, server_default="1", nullable=False)),
    "nullable": _with(sa.Column("size", sa.Integer, server_default="1", nullable=True)),
    "an index": _with(sa.Index("ix_name", "name")),
    "no index": _without("ix_owner"),
    "a unique constraint of a new column": _with(
        sa.Column("new", sa.Integer), sa.UniqueConstraint("new", name="uq_new")
    ),
    "a foreign key of a new column": _with(
        sa.Column("new", sa.Integer), sa.ForeignKeyConstraint(["new"], ["things.id"], name="fk_new")
    ),
}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection]:
    """A connection to a database that has the table of before, and nothing else that is compared."""
    engine = create_async_engine(sa.make_url(database_url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_metadata(TABLE, _columns()).create_all)
        yield connection


@pytest.mark.postgresql
@pytest.mark.parametrize(("after", "remedy"), CONTRACTS.values(), ids=CONTRACTS)
async def test_what_the_version_before_cannot_work_with_is_found(
    connection: AsyncConnection, after: Columns, remedy: str
) -> None:
    (found,) = await connection.run_sync(_contractions, _metadata(TABLE, after))
    assert found.remedy == remedy
    assert found.code.startswith("op.")


@pytest.mark.postgresql
@pytest.mark.parametrize("after", EXPANDS.values(), ids=EXPANDS)
async def test_what_the_version_before_can_work_with_is_not(connection: AsyncConnection, after: Columns) -> None:
    assert await connection.run_sync(_contractions, _metadata(TABLE, after)) == []


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("after", "remedy"),
    [(sa.MetaData(), contract_phase.DROP), (_metadata("stuff", _columns()), contract_phase.RENAME)],
    ids=["dropped", "renamed"],
)
async def test_a_table_that_goes_is_found(connection: AsyncConnection, after: sa.MetaData, remedy: str) -> None:
    found = await connection.run_sync(_contractions, after)
    assert [(each.code, each.remedy) for each in found] == [(f"op.drop_table('{TABLE}')", remedy)]


def _contractions(connection: sa.Connection, after: sa.MetaData) -> list[Contraction]:
    compared = {TABLE, *after.tables}
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _parents: kind != "table" or name in compared,
    }
    context = MigrationContext.configure(connection, opts=options)
    upgrade = produce_migrations(context, after).upgrade_ops
    assert upgrade is not None
    return contract_phase.contractions(context, upgrade)


@pytest.mark.postgresql
@pytest.mark.slow
async def test_the_command_writes_no_such_migration_unless_it_is_told_to(tmp_path: Path) -> None:
    pages.clone(tmp_path)
    model = tmp_path / "src/models/user.py"
    model.write_text(re.sub(r"^    name: Mapped.*\n", "", model.read_text(), flags=re.MULTILINE))
    versions = tmp_path / "migrations/versions"
    before = sorted(versions.glob("*.py"))
    refused = await asyncio.to_thread(_new, tmp_path)
    assert (refused.returncode, sorted(versions.glob("*.py"))) == (1, before)
    assert "op.drop_column('users', 'name')" in refused.stderr
    assert contract_phase.DROP in refused.stderr
    written = await asyncio.to_thread(_new, tmp_path, "--contract")
    assert (written.returncode, len([*versions.glob("*.py")])) == (0, len(before) + 1), written.stderr


def _new(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dev.schema", *options, "new", "--", "drop name"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
