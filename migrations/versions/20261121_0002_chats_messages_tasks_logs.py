"""chats and their members, messages, tasks, logs

Revision: 0002, after 0001.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from migrations import columns

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NOW = sa.func.now()


def common() -> list[sa.Column[Any]]:
    """What every entity's table ends with."""
    return [
        sa.Column("created_at", columns.Moment, server_default=NOW, nullable=False),
        sa.Column("updated_at", columns.Moment, server_default=NOW, nullable=False),
        sa.Column("version", sa.Integer, server_default="1", nullable=False),
    ]


def reference(table: str, column: str, parent: str, ondelete: str) -> sa.ForeignKeyConstraint:
    """A foreign key by the naming convention."""
    return sa.ForeignKeyConstraint([column], [f"{parent}.id"], name=f"fk_{table}_{column}", ondelete=ondelete)


def upgrade() -> None:
    op.create_table(
        "chats",
        sa.Column("id", columns.Identifier, nullable=False),
        sa.Column("platform", columns.UncollatedKey, nullable=False),
        sa.Column("external_id", columns.UncollatedKey, nullable=False),
        sa.Column("title", columns.Uncollated, nullable=True),
        sa.Column("kind", sa.String(20), server_default="private", nullable=False),
        sa.Column("metadata", columns.Json, server_default="{}", nullable=False),
        *common(),
        sa.PrimaryKeyConstraint("id", name="pk_chats"),
        sa.UniqueConstraint("platform", "external_id", name="uq_chats_platform_external_id"),
    )
    op.create_table(
        "chat_members",
        sa.Column("id", columns.Identifier, nullable=False),
        sa.Column("chat_id", columns.Identifier, nullable=False),
        sa.Column("user_id", columns.Identifier, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chat_members"),
        sa.UniqueConstraint("chat_id", "user_id", name="uq_chat_members_chat_id_user_id"),
        reference("chat_members", "chat_id", "chats", "CASCADE"),
        reference("chat_members", "user_id", "users", "CASCADE"),
    )
    op.create_index("ix_chat_members_user_id", "chat_members", ["user_id"])

    op.create_table(
        "messages",
        sa.Column("id", columns.Identifier, nullable=False),
        sa.Column("chat_id", columns.Identifier, nullable=False),
        sa.Column("user_id", columns.Identifier, nullable=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("content", columns.Uncollated, nullable=False),
        sa.Column("reply_to_id", columns.Identifier, nullable=True),
        sa.Column("metadata", columns.Json, server_default="{}", nullable=False),
        *common(),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        reference("messages", "chat_id", "chats", "CASCADE"),
        reference("messages", "user_id", "users", "SET NULL"),
        reference("messages", "reply_to_id", "messages", "SET NULL"),
    )
    for column in ("chat_id", "user_id", "reply_to_id"):
        op.create_index(f"ix_messages_{column}", "messages", [column])

    op.create_table(
        "tasks",
        sa.Column("id", columns.Identifier, nullable=False),
        sa.Column("user_id", columns.Identifier, nullable=False),
        sa.Column("title", columns.Uncollated, nullable=False),
        sa.Column("description", columns.Uncollated, nullable=True),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("completed_at", columns.Moment, nullable=True),
        *common(),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        reference("tasks", "user_id", "users", "CASCADE"),
    )
    op.create_index("ix_tasks_user_id", "tasks", ["user_id"])

    op.create_table(
        "logs",
        sa.Column("id", columns.Identifier, nullable=False),
        sa.Column("level", sa.String(20), nullable=False),
        sa.Column("source", columns.UncollatedKey, nullable=False),
        sa.Column("message", columns.Uncollated, nullable=False),
        sa.Column("user_id", columns.Identifier, nullable=True),
        sa.Column("context", columns.Json, server_default="{}", nullable=False),
        *common(),
        sa.PrimaryKeyConstraint("id", name="pk_logs"),
        reference("logs", "user_id", "users", "SET NULL"),
    )
    op.create_index("ix_logs_source", "logs", ["source"])
    op.create_index("ix_logs_user_id", "logs", ["user_id"])

    for table in ("chats", "messages", "tasks", "logs"):
        op.create_index(f"ix_{table}_created_at", table, ["created_at"])


def downgrade() -> None:
    for table in ("logs", "tasks", "messages", "chat_members", "chats"):
        op.drop_table(table)
