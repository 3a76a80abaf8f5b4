"""users, sessions, queries, and the inbox

Revision: 0001, after nothing.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from migrations import columns

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.func.now()


def moment(name: str, **options: Any) -> sa.Column[Any]:
    """A point in time, in UTC."""
    return sa.Column(name, columns.Moment, **options)


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("key", columns.Digest, nullable=False, comment="sha256 of sender, NUL, message_id"),
        sa.Column("fingerprint", columns.Digest, nullable=False, comment="sha256 of operation, content type, body"),
        sa.Column("outcome", columns.Blob, nullable=False, comment="msgpack, zlib from 1 KiB"),
        moment("received_at", nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_inbox"),
    )
    op.create_index("ix_inbox_received_at", "inbox", ["received_at"])

    op.create_table(
        "users",
        sa.Column("id", columns.Identifier, nullable=False),
        sa.Column("username", columns.UncollatedKey, nullable=False),
        sa.Column("email", columns.Uncollated, nullable=True),
        sa.Column("name", columns.Uncollated, nullable=True),
        sa.Column("attributes", columns.Json, server_default="{}", nullable=False),
        moment("created_at", server_default=NOW, nullable=False),
        moment("updated_at", server_default=NOW, nullable=False),
        sa.Column("version", sa.Integer, server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("username", name="uq_users_username"),
    )
    op.create_index("ix_users_created_at", "users", ["created_at"])

    op.create_table(
        "sessions",
        sa.Column("id", columns.Identifier, nullable=False),
        sa.Column("user_id", columns.Identifier, nullable=True),
        sa.Column("title", columns.Uncollated, nullable=True),
        sa.Column("status", sa.String(20), server_default="open", nullable=False),
        sa.Column("metadata", columns.Json, server_default="{}", nullable=False),
        moment("closed_at", nullable=True),
        moment("created_at", server_default=NOW, nullable=False),
        moment("updated_at", server_default=NOW, nullable=False),
        sa.Column("version", sa.Integer, server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id", ondelete="SET NULL"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_index("ix_sessions_created_at", "sessions", ["created_at"])

    op.create_table(
        "queries",
        sa.Column("id", columns.Identifier, nullable=False),
        sa.Column("session_id", columns.Identifier, nullable=False),
        sa.Column("text", columns.Uncollated, nullable=False),
        sa.Column("status", sa.String(20), server_default="pending", nullable=False),
        sa.Column("response", columns.Json, nullable=True),
        sa.Column("error", columns.Uncollated, nullable=True),
        moment("started_at", nullable=True),
        moment("finished_at", nullable=True),
        sa.Column("metadata", columns.Json, server_default="{}", nullable=False),
        moment("created_at", server_default=NOW, nullable=False),
        moment("updated_at", server_default=NOW, nullable=False),
        sa.Column("version", sa.Integer, server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_queries"),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name="fk_queries_session_id", ondelete="CASCADE"),
    )
    op.create_index("ix_queries_session_id", "queries", ["session_id"])
    op.create_index("ix_queries_created_at", "queries", ["created_at"])


def downgrade() -> None:
    for table in ("queries", "sessions", "users", "inbox"):
        op.drop_table(table)
