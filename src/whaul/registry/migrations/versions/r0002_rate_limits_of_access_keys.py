"""Access keys may carry a rate limit of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    """Add the columns; keys that exist keep to the server's limit."""
    op.add_column("access_keys", sa.Column("rate_limit", sa.Double(), nullable=True))
    op.add_column("access_keys", sa.Column("rate_burst", sa.Integer(), nullable=True))
