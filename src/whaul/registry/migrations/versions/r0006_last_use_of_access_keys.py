"""When an access key was used last, and for which operation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    """Add the columns; servers fill them from now on."""
    op.add_column("access_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("access_keys", sa.Column("last_operation", sa.String(64), nullable=True))
