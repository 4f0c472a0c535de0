"""Events: what comes in by webhooks, where it goes, and the files that are archived."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
additive = True

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables. Only additions: the version before this one goes on with them there."""
    op.add_column("accounts", sa.Column("app_id", sa.String(64), nullable=True))
    op.create_table(
        "archives",
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("bucket", sa.String(255), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("meta_phone_number_ids", sa.Text(), nullable=False),
        sa.Column("conditional_writes", sa.Boolean(), nullable=True),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_archives"),
    )
    op.create_table(
        "attempts",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("destination", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("delivery", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", "destination", "delivery", "number", name="pk_attempts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "backlog",
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("what", sa.String(80), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("oldest_at", sa.BigInteger(), nullable=True),
        sa.Column("counted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "what", name="pk_backlog"),
    )
    op.create_table(
        "conversation_turns",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("destination", sa.BigInteger(), nullable=False),
        sa.Column("conversation", sa.LargeBinary(16), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(32), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("takeovers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversation_turns"),
    )
    op.create_index(
        "ix_conversation_turns_destination_conversation",
        "conversation_turns",
        ["destination", "conversation"],
        unique=True,
    )
    op.create_index("ix_conversation_turns_due", "conversation_turns", ["destination", "due_at"])
    op.create_table(
        "deliveries",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("destination", sa.BigInteger(), nullable=False),
        sa.Column("conversation", sa.LargeBinary(16), nullable=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=True),
        sa.Column("died_at", sa.BigInteger(), nullable=True),
        sa.Column("waits", sa.Boolean(), nullable=False),
        sa.Column("replay", sa.Boolean(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(32), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("takeovers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_deliveries_conversation",
        "deliveries",
        ["destination", "conversation", "id"],
        sqlite_where=sa.text("state = 'pending' AND conversation IS NOT NULL"),
        postgresql_where=sa.text("state = 'pending' AND conversation IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_dead",
        "deliveries",
        ["destination", "died_at", "id"],
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["destination", "replay", "due_at"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_deliveries_seq_destination", "deliveries", ["seq", "destination"], unique=True)
    op.create_table(
        "destination_accounts",
        sa.Column("destination", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("by_api", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "account_id", "by_api", name="pk_destination_accounts"),
    )
    op.create_table(
        "destinations",
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("ordered", sa.Boolean(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Boolean(), nullable=False),
        sa.Column("media_wait", sa.Integer(), nullable=False),
        sa.Column("role_arn", sa.Text(), nullable=True),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("old_secret", sa.Text(), nullable=True),
        sa.Column("old_secret_until", sa.BigInteger(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.Column("stopped_for", sa.BigInteger(), nullable=False),
        sa.Column("probe_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_destinations"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_destinations_owner_name",
        "destinations",
        ["owner", "name"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "duties",
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "name", name="pk_duties"),
    )
    op.create_table(
        "event_files",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("file", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("seq", "file", name="pk_event_files"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_event_files_file", "event_files", ["file"])
    op.create_table(
        "event_keys",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.LargeBinary(16), nullable=False),
        sa.Column("arrived", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "key", name="pk_event_keys"),
        postgresql_partition_by="RANGE (day)",
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_event_keys_arrived",
        "event_keys",
        ["arrived"],
        sqlite_where=sa.text("day = 0"),
        postgresql_where=sa.text("day = 0"),
    )
    op.create_table(
        "event_parties",
        sa.Column("party", sa.LargeBinary(16), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("party", "seq", name="pk_event_parties"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_event_parties_seq", "event_parties", ["seq"])
    op.create_table(
        "events",
        sa.Column("seq", _NUMBER, nullable=False),
        sa.Column("message_id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("app", sa.String(64), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("item_at", sa.BigInteger(), nullable=True),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("waba_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.String(64), nullable=True),
        sa.Column("meta_phone_number_id", sa.Text(), nullable=True),
        sa.Column("wamid", sa.Text(), nullable=True),
        sa.Column("conversation", sa.LargeBinary(16), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("body_id", sa.String(32), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_message_id", "events", ["message_id"])
    op.create_index(
        "ix_events_owner_state_seq",
        "events",
        ["owner", "state", "seq"],
        sqlite_where=sa.text("state <> 'routed'"),
        postgresql_where=sa.text("state <> 'routed'"),
    )
    op.create_table(
        "files",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("media_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("message_type", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("mime_type", sa.Text(), nullable=False),
        sa.Column("bucket", sa.String(255), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(32), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("missing", sa.Boolean(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(32), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("takeovers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
    )
    op.create_index("ix_files_account_id_state", "files", ["account_id", "state"])
    op.create_index(
        "ix_files_due",
        "files",
        ["owner", "due_at"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_files_message_id",
        "files",
        ["message_id"],
        sqlite_where=sa.text("state IN ('pending', 'parked')"),
        postgresql_where=sa.text("state IN ('pending', 'parked')"),
    )
    op.create_index(
        "ix_files_untold",
        "files",
        ["owner", "done_at"],
        sqlite_where=sa.text("state IN ('stored', 'failed') AND told = false"),
        postgresql_where=sa.text("state IN ('stored', 'failed') AND told = false"),
    )
    op.create_table(
        "inbound_generation",
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_inbound_generation"),
    )
    op.create_table(
        "installation",
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("hash_key", sa.Text(), nullable=False),
        sa.Column("verify_token", sa.Text(), nullable=True),
        sa.Column("old_verify_token", sa.Text(), nullable=True),
        sa.Column("old_verify_token_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("owner", name="pk_installation"),
    )
    op.create_table(
        "parked_accounts",
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parked_at", sa.BigInteger(), nullable=False),
        sa.Column("probe_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_parked_accounts"),
    )
    op.create_index("ix_parked_accounts_owner", "parked_accounts", ["owner"])
    op.create_table(
        "replays",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("destination", sa.BigInteger(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("matched", sa.BigInteger(), nullable=False),
        sa.Column("queued", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("step", sa.String(32), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_replays"),
    )
    op.create_index("ix_replays_owner", "replays", ["owner"])
    op.create_table(
        "webhook_bodies",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(12), nullable=False),
        sa.Column("app", sa.String(64), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_bodies"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TABLE event_keys_others PARTITION OF event_keys FOR VALUES FROM (0) TO (1)")
        # For days whose partition was not made in time. Otherwise empty, so that making one has nothing to look at.
        op.execute("CREATE TABLE event_keys_default PARTITION OF event_keys DEFAULT")
        # Rows come and go, and an index is no smaller for those that went until they are vacuumed.
        for table in ("deliveries", "conversation_turns"):
            op.execute(
                f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, "
                "autovacuum_vacuum_cost_delay = 0)"
            )
