"""In which trace an event came, so that what becomes of it is in the same one."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    """Add the column; servers that make traces fill it from now on."""
    op.add_column("events", sa.Column("trace", sa.Text(), nullable=True))
