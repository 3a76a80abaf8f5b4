"""attempts at requests that may be what kills the process

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

from migrations import columns

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "suspects",
        sa.Column("key", columns.Digest, nullable=False, comment="sha256 of what tells a request from others"),
        sa.Column("attempt", columns.Identifier, nullable=False),
        sa.Column("begun_at", columns.Moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("key", "attempt", name="pk_suspects"),
    )


def downgrade() -> None:
    op.drop_table("suspects")
