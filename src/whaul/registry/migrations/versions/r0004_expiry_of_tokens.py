"""When the token of an account ends."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    """Add the column; Meta is asked when an account is refreshed."""
    op.add_column("accounts", sa.Column("token_expires_at", sa.DateTime(timezone=True), nullable=True))
