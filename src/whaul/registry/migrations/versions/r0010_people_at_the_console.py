"""Who signed in to the console as an access key, where a provider says it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    """Add the column; sessions that begin from now on fill it."""
    op.add_column("console_sessions", sa.Column("person", sa.String(256), nullable=True))
