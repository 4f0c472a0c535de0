"""Linked accounts, their phone numbers, access keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
additive = False


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("meta_waba_id", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=False),
        sa.Column("app_secret", sa.Text(), nullable=True),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
    )
    op.create_index("ix_accounts_owner_meta_waba_id", "accounts", ["owner", "meta_waba_id"], unique=True)
    op.create_table(
        "phone_numbers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("meta_id", sa.String(64), nullable=False),
        sa.Column("display_phone_number", sa.Text(), nullable=False),
        sa.Column("verified_name", sa.Text(), nullable=False),
        sa.Column("quality_rating", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_phone_numbers"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_phone_numbers_account_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_phone_numbers_account_id", "phone_numbers", ["account_id"])
    op.create_table(
        "access_keys",
        sa.Column("access_key_id", sa.String(128), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_access_key", sa.Text(), nullable=False),
        sa.Column("session_token", sa.Text(), nullable=True),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("access_key_id", name="pk_access_keys"),
    )
    op.create_index("ix_access_keys_owner", "access_keys", ["owner"])
