"""The tables of events.

What is hot is small: a delivery or a file lives in its table while it waits, and is claimed by the partial index of
what waits. What is done leaves one row in the journal (`events`, `attempts`), which is only read by key.

Moments are microseconds, so that both databases compute with them alike. Content is encrypted, and each row names
its key: a process leaves alone what it could not read. What is searched (ids, times, states) is not content; people
are known by an HMAC only.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from whaul.events.database.columns import Moment, Sealed
from whaul.registry.tables import Encrypted, Table

_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the column is an INTEGER."""
_PENDING: Final = text("state = 'pending'")
_DEAD: Final = text("state = 'dead'")
_UNDONE: Final = text("state IN ('pending', 'parked')")
_UNTOLD: Final = text("state IN ('stored', 'failed') AND told = false")


class InstallationRow(Table):
    """What one account number has once."""

    __tablename__ = "installation"

    owner: Mapped[str] = mapped_column(String(12), primary_key=True)
    hash_key: Mapped[str] = mapped_column(Encrypted, doc="of the HMACs of people and conversations")
    verify_token: Mapped[str | None] = mapped_column(Encrypted)
    old_verify_token: Mapped[str | None] = mapped_column(Encrypted)
    old_verify_token_until: Mapped[datetime | None] = mapped_column(Moment)


class DestinationRow(Table):
    """Where events go. A number is never used again, and a removed destination stays until its deliveries are gone."""

    __tablename__ = "destinations"

    number: Mapped[int] = mapped_column(_NUMBER, primary_key=True)
    owner: Mapped[str] = mapped_column(String(12))
    name: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(Text)
    format: Mapped[str] = mapped_column(String(16))
    ordered: Mapped[bool] = mapped_column(Boolean)
    concurrency: Mapped[int] = mapped_column(Integer)
    filter: Mapped[str] = mapped_column(Text, doc="JSON")
    attributes: Mapped[bool] = mapped_column(Boolean)
    media_wait: Mapped[int] = mapped_column(Integer, doc="seconds")
    role_arn: Mapped[str | None] = mapped_column(Text)
    secret: Mapped[str | None] = mapped_column(Encrypted)
    old_secret: Mapped[str | None] = mapped_column(Encrypted)
    old_secret_until: Mapped[datetime | None] = mapped_column(Moment)
    headers: Mapped[str | None] = mapped_column(Encrypted, doc="JSON")
    created_at: Mapped[datetime] = mapped_column(Moment)
    state: Mapped[str] = mapped_column(String(8), doc="active, paused, open or disabled")
    stopped_at: Mapped[datetime | None] = mapped_column(Moment, doc="since when it is not active")
    stopped_for: Mapped[int] = mapped_column(BigInteger, doc="microseconds before that in which it was not")
    probe_at: Mapped[datetime | None] = mapped_column(Moment, doc="when an open one is tried again")
    last_error: Mapped[str | None] = mapped_column(Encrypted)
    removed_at: Mapped[datetime | None] = mapped_column(Moment)

    __table_args__ = (
        Index(
            "ix_destinations_owner_name",
            "owner",
            "name",
            unique=True,
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )


class DestinationAccountRow(Table):
    """An account whose events go to a destination."""

    __tablename__ = "destination_accounts"

    destination: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    account_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    by_api: Mapped[bool] = mapped_column(
        Boolean, primary_key=True, doc="attached by the API, which alone detaches it; an account may be attached twice"
    )


class ArchiveRow(Table):
    """Where the files of an account's messages are kept."""

    __tablename__ = "archives"

    account_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(12))
    bucket: Mapped[str] = mapped_column(String(255))
    prefix: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text, doc="the template")
    meta_phone_number_ids: Mapped[str] = mapped_column(Text, doc="JSON; an empty list means all")
    conditional_writes: Mapped[bool | None] = mapped_column(Boolean, doc="whether the store honours If-None-Match")
    set_at: Mapped[datetime] = mapped_column(Moment)


class EventKeyRow(Table):
    """The dedupe key of an item, kept by the day of the item's own time; see `event_keys`.

    On PostgreSQL the table has a partition for each day, which `retention` makes and drops.
    """

    __tablename__ = "event_keys"

    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, doc="since 1970; 0 for others")
    key: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    arrived: Mapped[int] = mapped_column(Integer, doc="day")

    __table_args__ = (
        Index("ix_event_keys_arrived", "arrived", sqlite_where=text("day = 0"), postgresql_where=text("day = 0")),
        {"sqlite_with_rowid": False, "postgresql_partition_by": "RANGE (day)"},
    )


class BodyRow(Table):
    """A webhook's body as it came."""

    __tablename__ = "webhook_bodies"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, doc="in the order of arrival")
    owner: Mapped[str] = mapped_column(String(12))
    app: Mapped[str | None] = mapped_column(String(64))
    received_at: Mapped[datetime] = mapped_column(Moment)
    key_id: Mapped[str] = mapped_column(String(16))
    body: Mapped[str] = mapped_column(Sealed)


class EventRow(Table):
    """An item that was taken in: the journal."""

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(_NUMBER, primary_key=True)
    message_id: Mapped[str] = mapped_column(String(36), index=True, doc="not unique: a key is kept for days only")
    owner: Mapped[str] = mapped_column(String(12))
    app: Mapped[str | None] = mapped_column(String(64), doc="whose secret signed the webhook")
    received_at: Mapped[datetime] = mapped_column(Moment)
    item_at: Mapped[int | None] = mapped_column(BigInteger, doc="the item's own time, seconds")
    field: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(16))
    type: Mapped[str | None] = mapped_column(Text)
    waba_id: Mapped[str] = mapped_column(Text)
    account_id: Mapped[str | None] = mapped_column(String(64))
    meta_phone_number_id: Mapped[str | None] = mapped_column(Text)
    wamid: Mapped[str | None] = mapped_column(Text)
    conversation: Mapped[bytes] = mapped_column(LargeBinary(16), doc="HMAC")
    state: Mapped[str] = mapped_column(String(8), doc="routed, unrouted or unparsed")
    body_id: Mapped[str | None] = mapped_column(String(32))
    size: Mapped[int] = mapped_column(Integer, doc="bytes of the entry")
    key_id: Mapped[str] = mapped_column(String(16))
    entry: Mapped[str] = mapped_column(Sealed)
    trace: Mapped[str | None] = mapped_column(Text, doc="context of the webhook's span: see `Event.arrival`")

    __table_args__ = (
        Index(
            "ix_events_owner_state_seq",
            "owner",
            "state",
            "seq",
            sqlite_where=text("state <> 'routed'"),
            postgresql_where=text("state <> 'routed'"),
        ),
        {"sqlite_autoincrement": True},
    )


class EventPartyRow(Table):
    """A person in an event."""

    __tablename__ = "event_parties"

    party: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True, doc="HMAC")
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)

    __table_args__: Any = ({"sqlite_with_rowid": False},)


class Leased:
    """The columns by which `jobs` hands out a table's rows."""

    due_at: Mapped[int] = mapped_column(BigInteger, doc="of a leased row, the end of its lease; microseconds")
    lease_owner: Mapped[str | None] = mapped_column(String(32), doc="the process")
    fence: Mapped[int] = mapped_column(Integer, doc="how often it was leased")
    takeovers: Mapped[int] = mapped_column(Integer, doc="leases that ended without an outcome, since the last one")


class DeliveryRow(Leased, Table):
    """An event that a destination has yet to get, or never will (a dead letter). Deleted when it has it."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(_NUMBER, primary_key=True, doc="the order within a conversation")
    owner: Mapped[str] = mapped_column(String(12))
    seq: Mapped[int] = mapped_column(BigInteger)
    destination: Mapped[int] = mapped_column(BigInteger)
    conversation: Mapped[bytes | None] = mapped_column(LargeBinary(16), doc="of an ordered destination")
    state: Mapped[str] = mapped_column(String(8), doc="pending or dead")
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Moment)
    first_at: Mapped[int | None] = mapped_column(BigInteger, doc="first attempt, by the destination's running clock")
    died_at: Mapped[datetime | None] = mapped_column(Moment)
    waits: Mapped[bool] = mapped_column(Boolean, doc="or waited, for the event's files, until it was due")
    replay: Mapped[bool] = mapped_column(Boolean)
    size: Mapped[int] = mapped_column(Integer, doc="bytes of the entry")
    key_id: Mapped[str] = mapped_column(String(16))
    last_error: Mapped[str | None] = mapped_column(Sealed)

    __table_args__ = (
        Index("ix_deliveries_seq_destination", "seq", "destination", unique=True),
        Index(
            "ix_deliveries_due",
            "destination",
            "replay",
            "due_at",
            sqlite_where=_PENDING,
            postgresql_where=_PENDING,
        ),
        Index(
            "ix_deliveries_conversation",
            "destination",
            "conversation",
            "id",
            sqlite_where=text("state = 'pending' AND conversation IS NOT NULL"),
            postgresql_where=text("state = 'pending' AND conversation IS NOT NULL"),
        ),
        Index("ix_deliveries_dead", "destination", "died_at", "id", sqlite_where=_DEAD, postgresql_where=_DEAD),
        {"sqlite_autoincrement": True},
    )


class TurnRow(Leased, Table):
    """A conversation that waits at an ordered destination. Only who holds this row delivers for it."""

    __tablename__ = "conversation_turns"

    id: Mapped[int] = mapped_column(_NUMBER, primary_key=True)
    destination: Mapped[int] = mapped_column(BigInteger)
    conversation: Mapped[bytes] = mapped_column(LargeBinary(16))

    __table_args__ = (
        Index("ix_conversation_turns_destination_conversation", "destination", "conversation", unique=True),
        Index("ix_conversation_turns_due", "destination", "due_at"),
    )


class AttemptRow(Table):
    """What came of trying to deliver an event: the first and last ten of each delivery."""

    __tablename__ = "attempts"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    destination: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    delivery: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Moment)
    outcome: Mapped[str] = mapped_column(String(16), doc="delivered, or why not")
    seconds: Mapped[float] = mapped_column(Double)
    key_id: Mapped[str] = mapped_column(String(16))
    detail: Mapped[str | None] = mapped_column(Sealed)

    __table_args__: Any = ({"sqlite_with_rowid": False},)


class FileRow(Leased, Table):
    """A file of an account's messages, to be archived or archived. Bucket and key are fixed when the row is made."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, doc="made of account and media id")
    owner: Mapped[str] = mapped_column(String(12))
    account_id: Mapped[str] = mapped_column(String(64))
    media_id: Mapped[str] = mapped_column(Text)
    seq: Mapped[int] = mapped_column(BigInteger, doc="the event that named it first")
    message_type: Mapped[str] = mapped_column(Text)
    message_id: Mapped[str | None] = mapped_column(Text, doc="wamid")
    mime_type: Mapped[str] = mapped_column(Text)
    bucket: Mapped[str] = mapped_column(String(255))
    key: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(8), doc="pending, stored, failed or parked")
    attempts: Mapped[int] = mapped_column(Integer)
    run: Mapped[int] = mapped_column(Integer, doc="how often it was begun anew")
    created_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment, doc="when Meta forgets the id")
    done_at: Mapped[datetime | None] = mapped_column(Moment)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    size: Mapped[int | None] = mapped_column(BigInteger)
    etag: Mapped[str | None] = mapped_column(Text)
    missing: Mapped[bool] = mapped_column(Boolean, doc="whether Meta said the last time that there is no such id")
    revoked: Mapped[bool] = mapped_column(Boolean, doc="whether its message was taken back")
    told: Mapped[bool] = mapped_column(Boolean, doc="whether its outcome became an event")
    key_id: Mapped[str] = mapped_column(String(16))
    last_error: Mapped[str | None] = mapped_column(Sealed)

    __table_args__ = (
        Index("ix_files_due", "owner", "due_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
        Index("ix_files_account_id_state", "account_id", "state"),
        Index("ix_files_message_id", "message_id", sqlite_where=_UNDONE, postgresql_where=_UNDONE),
        Index("ix_files_untold", "owner", "done_at", sqlite_where=_UNTOLD, postgresql_where=_UNTOLD),
    )


class ParkedAccountRow(Table):
    """An account whose token Meta refused, or that is not linked any more: its files wait. See `parking`."""

    __tablename__ = "parked_accounts"

    account_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(12), index=True)
    token: Mapped[str] = mapped_column(String(32), doc="how the row of the refused token began; empty without one")
    reason: Mapped[str] = mapped_column(Encrypted)
    parked_at: Mapped[datetime] = mapped_column(Moment)
    probe_at: Mapped[datetime] = mapped_column(Moment, doc="when one of its files is tried, to see whether it is back")


class EventFileRow(Table):
    """A file that an event names."""

    __tablename__ = "event_files"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    file: Mapped[str] = mapped_column(String(32), primary_key=True, index=True)

    __table_args__: Any = ({"sqlite_with_rowid": False},)


class ReplayRow(Table):
    """Events that are to be sent once more, page by page."""

    __tablename__ = "replays"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(12), index=True)
    destination: Mapped[int] = mapped_column(BigInteger)
    selection: Mapped[str] = mapped_column(Text, doc="JSON")
    position: Mapped[int] = mapped_column(BigInteger, doc="the last event that was looked at")
    last: Mapped[int] = mapped_column(BigInteger, doc="the newest event when it began")
    matched: Mapped[int] = mapped_column(BigInteger)
    queued: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16), doc="running, done or cancelled")
    step: Mapped[str | None] = mapped_column(String(32), doc="what moved it last")
    created_at: Mapped[datetime] = mapped_column(Moment)


class DutyRow(Table):
    """Work that one process does for all; see `duties`."""

    __tablename__ = "duties"

    owner: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    begun_at: Mapped[datetime] = mapped_column(Moment)


class CountRow(Table):
    """How much waits, as one process counted it for all; see `backlog`."""

    __tablename__ = "backlog"

    owner: Mapped[str] = mapped_column(String(12), primary_key=True)
    what: Mapped[str] = mapped_column(
        String(80), primary_key=True, doc="all, destination:N, overdue:N or files:ACCOUNT"
    )
    waiting: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    dead: Mapped[int] = mapped_column(BigInteger)
    oldest_at: Mapped[datetime | None] = mapped_column(Moment)
    counted_at: Mapped[datetime] = mapped_column(Moment)
