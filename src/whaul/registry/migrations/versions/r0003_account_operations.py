"""What the account operations keep: facts from Meta with their age, tags, sign-ups between their steps."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    """Add the columns and tables."""
    op.add_column("accounts", sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_accounts_owner_linked_at_id", "accounts", ["owner", "linked_at", "id"])
    op.add_column("phone_numbers", sa.Column("status", sa.String(64), nullable=False, server_default="CONNECTED"))
    op.add_column("phone_numbers", sa.Column("data_localization_region", sa.String(2), nullable=True))
    op.create_table(
        "tags",
        sa.Column("resource_id", sa.String(64), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("value", sa.String(256), nullable=False),
        sa.PrimaryKeyConstraint("resource_id", "key", name="pk_tags"),
    )
    op.create_table(
        "signups",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_signups"),
    )
    op.create_index("ix_signups_expires_at", "signups", ["expires_at"])
