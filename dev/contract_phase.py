"""Operations of a migration that the version before cannot work with, while both versions run.

A schema change takes two releases: the first one expands (what the code before reads and writes stays), the next one
contracts. ``docs/deploy.md``, "Two versions at a time", has the rules; ``python -m dev.schema new`` refuses to write a
migration that contracts unless ``--contract`` is given.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext

DROP = "Release 1: no longer read or write it in the code. Release 2: drop it with --contract."
RENAME = (
    "A rename is a drop to the version before. Release 1: add the new name, write both, copy the rows. "
    "Release 2: drop the old name with --contract."
)
NULLABLE = (
    "Rows of the version before have no value. Release 1: nullable, or with a server_default; the code writes a value, "
    "and a migration fills the rows. Release 2: NOT NULL with --contract."
)
DEFAULT = (
    "Inserts of the version before leave the column out. Release 1: the code writes the column. "
    "Release 2: drop the server default with --contract."
)
NARROWER = (
    "The version before writes values that no longer fit. Release 1: the code writes values that fit both types, "
    "and a migration changes the rows. Release 2: change the type with --contract."
)
RULE = (
    "The version before does not know the rule. Release 1: the code keeps the rule, and a migration mends the rows. "
    "Release 2: add the constraint with --contract."
)


type Found = tuple[ops.MigrateOperation, str]
"""An operation and its remedy."""


@dataclass(frozen=True, slots=True)
class Contraction:
    """An operation as the migration would have it, and how to do it in two releases."""

    code: str
    remedy: str


def contractions(context: MigrationContext, upgrade: ops.UpgradeOps) -> list[Contraction]:
    """Return the operations of an upgrade that the version before cannot work with."""
    created = {each.table_name for each in upgrade.ops if isinstance(each, ops.CreateTableOp)}
    dropped = [each for each in upgrade.ops if isinstance(each, ops.DropTableOp)]
    found: list[Found] = [(each, RENAME if created else DROP) for each in dropped]
    tables = [each for each in upgrade.ops if isinstance(each, ops.ModifyTableOps)]
    found += [pair for table in tables if table.table_name not in created for pair in _in_table(table)]
    return [Contraction(_code(context, operation), remedy) for operation, remedy in found]


def _in_table(table: ops.ModifyTableOps) -> Iterator[Found]:
    """Yield the operations on one table that was there before, each with its remedy."""
    added = {each.column.name for each in table.ops if isinstance(each, ops.AddColumnOp)}
    for operation in table.ops:
        if remedy := _of_column(operation, renames=bool(added)) or _of_rule(operation, added):
            yield operation, remedy


def _of_column(operation: ops.MigrateOperation, *, renames: bool) -> str | None:
    """Return the remedy of an operation on a column. A column that goes is renamed where another one comes."""
    match operation:
        case ops.DropColumnOp():
            return RENAME if renames else DROP
        case ops.AddColumnOp(column=column) if not column.nullable and _has_no_default(column):
            return NULLABLE
        case ops.AlterColumnOp(modify_nullable=False):
            return NULLABLE
        case ops.AlterColumnOp(modify_server_default=None, existing_nullable=False):
            return DEFAULT
        case ops.AlterColumnOp(existing_type=old, modify_type=new) if new is not None and not _widens(old, new):
            return NARROWER
        case _:
            return None


def _of_rule(operation: ops.MigrateOperation, added: Collection[str]) -> str | None:
    """Return the remedy of an operation on a constraint or on an index; those of ``added`` columns need none."""
    match operation:
        case ops.DropConstraintOp():
            return DROP
        case ops.DropIndexOp() if operation.to_index().unique:
            return DROP
        case ops.AddConstraintOp() if not _columns(operation.to_constraint()) <= {*added}:
            return RULE
        case ops.CreateIndexOp(unique=True) if not {str(each) for each in operation.columns} <= {*added}:
            return RULE
        case _:
            return None


def _has_no_default(column: sa.Column[object]) -> bool:
    return column.server_default is None and column.identity is None and column.computed is None


def _columns(constraint: sa.Constraint) -> set[str]:
    """Return the columns of a constraint; of a check, whose columns nobody knows, a name that no column has."""
    columns = {*constraint.columns.keys()} if isinstance(constraint, sa.schema.ColumnCollectionConstraint) else set()
    return columns or {""}


def _widens(old: sa.types.TypeEngine[object] | None, new: sa.types.TypeEngine[object]) -> bool:
    """Return whether every value of the old type is one of the new type."""
    match old, new:
        case sa.String(), sa.String():
            return new.length is None or (old.length is not None and old.length <= new.length)
        case sa.SmallInteger() | sa.Integer(), sa.BigInteger():
            return True
        case sa.SmallInteger(), sa.Integer():
            return not isinstance(new, sa.SmallInteger)
        case _:
            return False


def _code(context: MigrationContext, operation: ops.MigrateOperation) -> str:
    """Return the operation as the migration would have it, on one line."""
    code = render_python_code(ops.UpgradeOps([operation]), render_item=context.opts.get("render_item"))
    lines = [line.strip() for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
    return " ".join(lines)
