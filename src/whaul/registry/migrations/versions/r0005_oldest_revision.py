"""Which older releases can go on with the database; see `whaul.registry.schema`."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
additive = True


def upgrade() -> None:
    """Make the table; each migration writes its one row."""
    op.create_table(
        "schema_compatibility",
        sa.Column("oldest_revision", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("oldest_revision", name="pk_schema_compatibility"),
    )
