"""attempts at requests that may be what kills the process

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "suspects",
        sa.Column("key", sa.LargeBinary(32), nullable=False, comment="sha256 of what tells a request from others"),
        sa.Column("attempt", sa.Uuid, nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", "attempt", name="pk_suspects"),
    )


def downgrade() -> None:
    op.drop_table("suspects")
