"""The tables.

Every row but that of `SchemaCompatibilityRow` belongs to one AWS-style account number (`owner`): gateways with
different numbers may share a database and see nothing of each other. Changing a table means a new file in
`migrations/versions` and a new `schema.HEAD`.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """A moment. SQLite forgets the time zone, so it is taken to UTC on the way in and put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Take a moment to UTC. Raises ValueError for one that does not say its time zone."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC, whatever the session's time zone is."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Encrypted(TypeDecorator[str]):
    """Text that `whaul.secrets.Cipher` made.

    Rotation knows it from `registry.ENCRYPTED`; its table has an `owner`, and one column as its key.
    """

    impl = Text
    cache_ok = True


class Table(DeclarativeBase):
    """The registry's tables; constraints have names, so that a migration can alter them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


class AccountRow(Table):
    """A linked WhatsApp Business Account."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(12))
    meta_waba_id: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(Text)
    access_token: Mapped[str] = mapped_column(Encrypted)
    app_secret: Mapped[str | None] = mapped_column(Encrypted)
    linked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    refreshed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    token_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    app_id: Mapped[str | None] = mapped_column(String(64), doc="whose secret it is; NULL if Meta was not asked")

    phone_numbers: Mapped[list["PhoneNumberRow"]] = relationship(
        back_populates="account", order_by="PhoneNumberRow.meta_id", lazy="raise", passive_deletes="all"
    )

    __table_args__ = (
        Index(None, "owner", "meta_waba_id", unique=True),
        Index(None, "owner", "linked_at", "id"),  # the order of pages
    )


class PhoneNumberRow(Table):
    """A phone number of a linked account."""

    __tablename__ = "phone_numbers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    meta_id: Mapped[str] = mapped_column(String(64))
    display_phone_number: Mapped[str] = mapped_column(Text)
    verified_name: Mapped[str] = mapped_column(Text)
    quality_rating: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(64), server_default="CONNECTED")
    data_localization_region: Mapped[str | None] = mapped_column(String(2))

    account: Mapped[AccountRow] = relationship(back_populates="phone_numbers", lazy="raise")


class TagRow(Table):
    """A tag of an account or a phone number.

    No foreign key: a number's row is made again whenever its account is linked again, and its tags stay.
    """

    __tablename__ = "tags"

    resource_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    value: Mapped[str] = mapped_column(String(256))


class SignupRow(Table):
    """A sign-up between its two steps; the token itself is not kept."""

    __tablename__ = "signups"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(12))
    access_token: Mapped[str] = mapped_column(Encrypted)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class AccessKeyRow(Table):
    """An access key; `session_token` and `expires_at` are those of a temporary one."""

    __tablename__ = "access_keys"

    access_key_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    owner: Mapped[str] = mapped_column(String(12), index=True)
    name: Mapped[str] = mapped_column(Text)
    secret_access_key: Mapped[str] = mapped_column(Encrypted)
    session_token: Mapped[str | None] = mapped_column(Encrypted)
    policy: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    rate_limit: Mapped[float | None] = mapped_column(Double, doc="calls per second; NULL: the server's")
    rate_burst: Mapped[int | None] = mapped_column(Integer, doc="calls at once; NULL: one second's worth")
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_operation: Mapped[str | None] = mapped_column(String(64))


class ConsoleLinkRow(Table):
    """A link that signs in to the console, once."""

    __tablename__ = "console_links"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(12))
    access_key_id: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ConsoleSessionRow(Table):
    """Somebody who is signed in to the console, as an access key."""

    __tablename__ = "console_sessions"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(12))
    access_key_id: Mapped[str] = mapped_column(String(128))
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    person: Mapped[str | None] = mapped_column(String(256))


class SchemaCompatibilityRow(Table):
    """The one row that says which releases can use the database: all that know this revision."""

    __tablename__ = "schema_compatibility"

    oldest_revision: Mapped[str] = mapped_column(String(32), primary_key=True)


class GenerationRow(Table):
    """Counts the changes to what events are routed by: accounts, app secrets, destinations, archives.

    Every change raises it in its own transaction, and every webhook compares it in its own. So processes may keep
    in memory what they route by.
    """

    __tablename__ = "inbound_generation"

    owner: Mapped[str] = mapped_column(String(12), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
