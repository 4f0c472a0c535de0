"""The registry itself: what is linked and who may call, read and written in transactions.

Secrets are encrypted before they reach the database and decrypted after they leave it, here and nowhere else.
"""

import random
import string
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Update, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import selectinload

from whaul.model import AccessKey, PhoneNumber
from whaul.registry import identifiers, schema
from whaul.registry.database import for_writing, open_engine, translated
from whaul.registry.errors import SchemaMissing
from whaul.registry.models import AccessKeyRow, AccountRow, PhoneNumberRow
from whaul.registry.records import (
    AccessKeyRecord,
    AccountCredentials,
    LinkedAccount,
    LinkedPhoneNumber,
    NewAccount,
)
from whaul.secrets import Cipher

# The prefix tells permanent keys from temporary ones, as at AWS.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
_PERMANENT: Final = "AKIA"
_TEMPORARY: Final = "ASIA"
_ID_ALPHABET: Final = string.ascii_uppercase + "234567"
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits + "+/"


def utc_now() -> datetime:
    """Tell the time of day, UTC."""
    return datetime.now(UTC)


class Registry:
    """Linked accounts, phone numbers and access keys of one account number.

    Every method raises RegistryUnavailable when the database does not answer; those that return a secret raise
    WrongSecretKey when the cipher's keys do not fit. `rng` must be fit for secrets.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        cipher: Cipher,
        *,
        account_id: str,
        region: str,
        clock: Callable[[], datetime] = utc_now,
        rng: random.Random | None = None,
    ) -> None:
        self._engine = engine
        self._cipher = cipher
        self._account_id = account_id
        self._region = region
        self._clock = clock
        self._rng = rng or random.SystemRandom()

    async def link(self, new: NewAccount) -> LinkedAccount:
        """Link an account, or link it again: all of it is replaced but its id and its date.

        Afterwards its phone numbers are those given and no others; a number that another account had moves here.
        An app secret that is not given is forgotten.
        """
        account_id = identifiers.waba_id(self._account_id, new.meta_waba_id)
        async with self._writing() as session:
            account = await session.get(AccountRow, account_id)
            if account is None:
                account = AccountRow(
                    id=account_id,
                    owner=self._account_id,
                    meta_waba_id=new.meta_waba_id,
                    linked_at=self._clock(),
                )
                session.add(account)
            account.name = new.name
            account.access_token = self._cipher.encrypt(new.access_token)
            account.app_secret = self._encrypt(new.app_secret)
            await session.flush()
            rows = {
                id_: PhoneNumberRow(
                    id=id_,
                    account_id=account_id,
                    meta_id=number.meta_id,
                    display_phone_number=number.display_phone_number,
                    verified_name=number.verified_name,
                    quality_rating=number.quality_rating,
                )
                for number in new.phone_numbers
                for id_ in [identifiers.phone_number_id(self._account_id, number.meta_id)]
            }
            await session.execute(
                delete(PhoneNumberRow).where(or_(PhoneNumberRow.account_id == account_id, PhoneNumberRow.id.in_(rows)))
            )
            session.add_all(rows.values())
            await session.flush()
            await session.refresh(account, ["phone_numbers"])
            return self._account(account)

    async def unlink(self, account: str) -> bool:
        """Remove an account and its phone numbers, given its id, its ARN or Meta's WABA id; False if not linked."""
        statement = delete(AccountRow).where(*self._named(account)).returning(AccountRow.id)
        async with self._writing() as session:
            return await session.scalar(statement) is not None

    async def accounts(self) -> tuple[LinkedAccount, ...]:
        """List the linked accounts, the first linked first."""
        statement = (
            select(AccountRow)
            .where(AccountRow.owner == self._account_id)
            .order_by(AccountRow.linked_at, AccountRow.id)
            .options(selectinload(AccountRow.phone_numbers))
        )
        async with self._reading() as session:
            return tuple(self._account(row) for row in await session.scalars(statement))

    async def account(self, account: str) -> LinkedAccount | None:
        """Find a linked account, given its id, its ARN or Meta's WABA id."""
        statement = select(AccountRow).where(*self._named(account)).options(selectinload(AccountRow.phone_numbers))
        async with self._reading() as session:
            row = await session.scalar(statement)
            return None if row is None else self._account(row)

    async def credentials(self, account: str) -> AccountCredentials | None:
        """Find an account's token and app secret, given its id, its ARN or Meta's WABA id."""
        async with self._reading() as session:
            row = await session.scalar(select(AccountRow).where(*self._named(account)))
        if row is None:
            return None
        return AccountCredentials(self._cipher.decrypt(row.access_token), self._decrypt(row.app_secret))

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked phone number, given its id (not its ARN: see `identifiers.phone_number_id_from`)."""
        statement = (
            select(PhoneNumberRow.id, PhoneNumberRow.meta_id, AccountRow.access_token, AccountRow.app_secret)
            .join(PhoneNumberRow.account)
            .where(PhoneNumberRow.id == phone_number_id, AccountRow.owner == self._account_id)
        )
        async with self._reading() as session:
            row = (await session.execute(statement)).one_or_none()
        if row is None:
            return None
        return PhoneNumber(
            id=row.id,
            arn=identifiers.phone_number_arn(row.id, self._account_id, self._region),
            meta_id=row.meta_id,
            access_token=self._cipher.decrypt(row.access_token),
            app_secret=self._decrypt(row.app_secret),
        )

    async def create_access_key(self, name: str, policy: str, *, expires_at: datetime | None = None) -> AccessKey:
        """Make an access key; the secret is in the answer and can be shown only now.

        `policy` is an IAM policy document that its owner has checked. A key with `expires_at` (with a time zone)
        is a temporary one: its id begins with ASIA and it comes with a session token.
        """
        key = AccessKey(
            access_key_id=(_TEMPORARY if expires_at else _PERMANENT) + self._pick(_ID_ALPHABET, 16),
            name=name,
            secret_access_key=SecretStr(self._pick(_SECRET_ALPHABET, 40)),
            policy=policy,
            session_token=SecretStr(self._pick(_SECRET_ALPHABET, 64)) if expires_at else None,
        )
        async with self._writing() as session:
            session.add(
                AccessKeyRow(
                    access_key_id=key.access_key_id,
                    owner=self._account_id,
                    name=name,
                    secret_access_key=self._cipher.encrypt(key.secret_access_key),
                    session_token=self._encrypt(key.session_token),
                    policy=policy,
                    created_at=self._clock(),
                    expires_at=expires_at,
                )
            )
        return key

    async def access_keys(self) -> tuple[AccessKeyRecord, ...]:
        """List all access keys, the oldest first, disabled and expired ones included."""
        statement = (
            select(AccessKeyRow)
            .where(AccessKeyRow.owner == self._account_id)
            .order_by(AccessKeyRow.created_at, AccessKeyRow.access_key_id)
        )
        async with self._reading() as session:
            return tuple(
                AccessKeyRecord(
                    access_key_id=row.access_key_id,
                    name=row.name,
                    policy=row.policy,
                    created_at=row.created_at,
                    disabled_at=row.disabled_at,
                    expires_at=row.expires_at,
                )
                for row in await session.scalars(statement)
            )

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Find an access key with its secret; None when it is unknown, disabled or expired."""
        statement = select(AccessKeyRow).where(
            AccessKeyRow.access_key_id == access_key_id,
            AccessKeyRow.owner == self._account_id,
            AccessKeyRow.disabled_at.is_(None),
        )
        async with self._reading() as session:
            row = await session.scalar(statement)
        if row is None or (row.expires_at is not None and row.expires_at <= self._clock()):
            return None
        return AccessKey(
            access_key_id=row.access_key_id,
            name=row.name,
            secret_access_key=self._cipher.decrypt(row.secret_access_key),
            policy=row.policy,
            session_token=self._decrypt(row.session_token),
        )

    async def disable_access_key(self, access_key_id: str) -> bool:
        """Disable an access key for good; False if it is unknown. One that is disabled already keeps its date."""
        return await self._change_key(
            access_key_id,
            update(AccessKeyRow).values(disabled_at=func.coalesce(AccessKeyRow.disabled_at, self._clock())),
        )

    async def set_policy(self, access_key_id: str, policy: str) -> bool:
        """Replace an access key's policy document, which its owner has checked; False if the key is unknown."""
        return await self._change_key(access_key_id, update(AccessKeyRow).values(policy=policy))

    async def check_secret_key(self) -> None:
        """Raise WrongSecretKey when what is stored was encrypted with other keys; an empty registry passes."""
        stored = select(AccountRow.access_token).union_all(select(AccessKeyRow.secret_access_key)).limit(1)
        async with self._reading() as session:
            token = await session.scalar(stored)
        if token is not None:
            self._cipher.decrypt(token)

    async def ping(self) -> None:
        """Return when the database answers and is at this version's schema; raise a RegistryError otherwise."""
        await schema.check_engine(self._engine)

    async def _change_key(self, access_key_id: str, change: Update) -> bool:
        statement = change.where(
            AccessKeyRow.access_key_id == access_key_id, AccessKeyRow.owner == self._account_id
        ).returning(AccessKeyRow.access_key_id)
        async with self._writing() as session:
            return await session.scalar(statement) is not None

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        with translated():
            async with AsyncSession(self._engine, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncSession]:
        with translated():
            async with AsyncSession(for_writing(self._engine), expire_on_commit=False) as session, session.begin():
                yield session

    def _named(self, account: str) -> tuple[Any, ...]:
        id_ = identifiers.waba_id_from(account, self._account_id, self._region)
        return (
            AccountRow.owner == self._account_id,
            AccountRow.meta_waba_id == account if id_ is None else AccountRow.id == id_,
        )

    def _account(self, row: AccountRow) -> LinkedAccount:
        return LinkedAccount(
            id=row.id,
            arn=identifiers.waba_arn(row.id, self._account_id, self._region),
            meta_waba_id=row.meta_waba_id,
            name=row.name,
            linked_at=row.linked_at,
            has_app_secret=row.app_secret is not None,
            phone_numbers=tuple(
                LinkedPhoneNumber(
                    id=number.id,
                    arn=identifiers.phone_number_arn(number.id, self._account_id, self._region),
                    meta_id=number.meta_id,
                    display_phone_number=number.display_phone_number,
                    verified_name=number.verified_name,
                    quality_rating=number.quality_rating,
                )
                for number in row.phone_numbers
            ),
        )

    def _encrypt(self, secret: SecretStr | None) -> str | None:
        return None if secret is None else self._cipher.encrypt(secret)

    def _decrypt(self, token: str | None) -> SecretStr | None:
        return None if token is None else self._cipher.decrypt(token)

    def _pick(self, alphabet: str, length: int) -> str:
        return "".join(self._rng.choice(alphabet) for _ in range(length))


@asynccontextmanager
async def open_registry(
    url: str,
    cipher: Cipher,
    *,
    account_id: str,
    region: str,
    create: bool = False,
    clock: Callable[[], datetime] = utc_now,
    rng: random.Random | None = None,
) -> AsyncIterator[Registry]:
    """Open the registry behind a database URL, and dispose of its connections at the end.

    A database that is missing or empty is made with `create`, and is SchemaMissing without. Raises SchemaOutdated
    or SchemaTooNew, ValueError for a bad URL, RegistryUnavailable when the database does not answer.
    """
    try:
        await schema.check(url)
    except SchemaMissing:
        if not create:
            raise
        await schema.migrate(url)
    engine = open_engine(url)
    try:
        yield Registry(engine, cipher, account_id=account_id, region=region, clock=clock, rng=rng)
    finally:
        await engine.dispose()
