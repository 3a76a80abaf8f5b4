"""text compares and sorts by code point

Revision: 0004, after 0003. On databases other than PostgreSQL it did from the beginning. No table is written anew, but
the indexes over text are.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXTS = {
    "users": ("username", "email", "name"),
    "sessions": ("title",),
    "queries": ("text", "error"),
    "chats": ("platform", "external_id", "title"),
    "messages": ("content",),
    "tasks": ("title", "description"),
    "logs": ("source", "message"),
}
WORDS = {
    "sessions": ("status",),
    "queries": ("status",),
    "chats": ("kind",),
    "messages": ("role",),
    "tasks": ("status",),
    "logs": ("level",),
}


def collate(collation: str) -> None:
    """Change all of a table's columns at once."""
    if op.get_context().dialect.name != "postgresql":
        return
    for table, texts in TEXTS.items():
        kinds = dict.fromkeys(texts, "TEXT") | dict.fromkeys(WORDS.get(table, ()), "VARCHAR(20)")
        changes = (f'ALTER COLUMN {column} TYPE {kind} COLLATE "{collation}"' for column, kind in kinds.items())
        op.execute(f"ALTER TABLE {table} {', '.join(changes)}")


def upgrade() -> None:
    collate("C")


def downgrade() -> None:
    collate("default")
