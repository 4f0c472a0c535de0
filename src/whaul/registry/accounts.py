"""Linked accounts and their phone numbers, read and written in transactions."""

from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from whaul.model import Account, GraphToken, LinkedAccount, LinkedPhoneNumber, MetaAccount, PhoneNumber
from whaul.registry.choosing import Chosen
from whaul.registry.database import Database
from whaul.registry.pages import PageTokens
from whaul.registry.tables import AccountRow, PhoneNumberRow, TagRow

_LIST: Final = ("linked accounts",)
"""What its page tokens are of."""
PAGE: Final = 500
"""Accounts that are read at once of all."""


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Some of the linked accounts, in order, and the token of the next page."""

    accounts: tuple[LinkedAccount, ...]
    next_token: str | None


class Accounts:
    """The linked accounts of one account number."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pages = PageTokens(database.cipher, database.account_id)

    async def link(self, account: MetaAccount, token: GraphToken, *, verified: bool = True) -> LinkedAccount:
        """Link an account, or link it again, which replaces everything but its id and its date.

        Afterwards its phone numbers are those of `account` and no others; a number that another account had moves
        here. An app secret that is not in `token` is forgotten, unless both tokens are of one app. An account that
        Meta was not asked about, so that it is not `verified`, is refreshed soon.
        """
        async with self._database.writing() as session:
            return await self.link_in(session, account, token, verified=verified)

    async def unlink(self, account: str) -> bool:
        """Remove an account, its phone numbers and their tags; False if it is not linked.

        The account is named by its id, its ARN or Meta's WABA id.
        """
        async with self._database.writing() as session:
            id_ = await session.scalar(select(AccountRow.id).where(*self._named(account)))
            if id_ is None:
                return False
            numbers = select(PhoneNumberRow.id).where(PhoneNumberRow.account_id == id_)
            await session.execute(delete(TagRow).where(or_(TagRow.resource_id == id_, TagRow.resource_id.in_(numbers))))
            await session.execute(delete(AccountRow).where(AccountRow.id == id_))
            await self._database.raise_generation(session)
            return True

    async def refresh(self, before: LinkedAccount, found: MetaAccount) -> None:
        """Record what Meta says now of an account, its token, and those of its numbers that are linked.

        Nothing happens if it was unlinked, linked again or refreshed since it was read as `before`: what Meta said may
        be about another token.
        """
        owner, now = self._database.account_id, self._database.clock()
        facts = {self._database.arns.phone_number_id(number.meta_id): number for number in found.phone_numbers}
        async with self._database.writing() as session:
            account = await session.scalar(_with_numbers().where(AccountRow.id == before.id, AccountRow.owner == owner))
            if account is None or account.refreshed_at != before.refreshed_at:
                return
            account.name, account.refreshed_at, account.token_expires_at = found.name, now, found.token_expires_at
            if found.app_id is not None and found.app_id != account.app_id:
                account.app_id = found.app_id
                await self._database.raise_generation(session)
            for row in account.phone_numbers:
                number = facts.get(row.id)
                if number is not None:
                    row.display_phone_number = number.display_phone_number
                    row.verified_name = number.verified_name
                    row.quality_rating = number.quality_rating
                    row.status = number.status

    async def all(self) -> tuple[LinkedAccount, ...]:
        """List the linked accounts, the first linked first."""
        async with self._database.reading() as session:
            return tuple(self._linked(row) for row in await session.scalars(self._in_order()))

    async def each(self) -> AsyncGenerator[LinkedAccount]:
        """List them in the same order, and keep few of them in memory; see `page` for what changes meanwhile."""
        token = None
        while True:
            page = await self.page(PAGE, token)
            for account in page.accounts:
                yield account
            token = page.next_token
            if token is None:
                return

    async def ids(self) -> tuple[str, ...]:
        """List the ids of the linked accounts, and read nothing else."""
        async with self._database.reading() as session:
            return tuple(
                await session.scalars(select(AccountRow.id).where(AccountRow.owner == self._database.account_id))
            )

    async def named(self, names: Collection[str]) -> tuple[LinkedAccount, ...]:
        """Find the linked accounts that have these ids, or numbers that do: ours or Meta's, of which there are few."""
        arns, named = self._database.arns, set(names)
        numbers = named | {arns.phone_number_id(name) for name in named}
        of_numbers = select(PhoneNumberRow.account_id).where(PhoneNumberRow.id.in_(numbers))
        is_named = or_(AccountRow.id.in_(named | {arns.waba_id(name) for name in named}), AccountRow.id.in_(of_numbers))
        async with self._database.reading() as session:
            return tuple(self._linked(row) for row in await session.scalars(self._in_order().where(is_named)))

    async def page(self, size: int, token: str | None = None, chosen: Chosen | None = None) -> AccountPage:
        """List at most `size` linked accounts in the same order, from where `token` (of the page before) points.

        Accounts that are linked or unlinked between two pages cause no gaps and no doubles. Raises PageTokenError.
        """
        statement = self._in_order().limit(size + 1)
        if chosen is not None:
            statement = statement.where(*chosen.conditions())
        if token is not None:
            moment, id_ = self._pages.read(_LIST, token)
            order = tuple_(AccountRow.linked_at, AccountRow.id)  # compared as one, so that the index leads there
            statement = statement.where(order > tuple_(datetime.fromisoformat(moment), id_))
        async with self._database.reading() as session:
            accounts = tuple(self._linked(row) for row in await session.scalars(statement))
        page = accounts[:size]
        if len(accounts) <= size:
            return AccountPage(page, None)
        last = page[-1]
        return AccountPage(page, self._pages.write(_LIST, [last.linked_at.isoformat(), last.id]))

    async def count(self, chosen: Chosen | None = None) -> int:
        """Count the linked accounts."""
        statement = select(func.count()).select_from(AccountRow).where(AccountRow.owner == self._database.account_id)
        if chosen is not None:
            statement = statement.where(*chosen.conditions())
        async with self._database.reading() as session:
            return int(await session.scalar(statement) or 0)

    async def token_stored_at(self, account_id: str) -> datetime | None:
        """Say when an account's token was stored, or encrypted with another key since; None if it is not linked.

        Raises SecretKeyError.
        """
        async with self._database.reading() as session:
            row = await session.get(AccountRow, account_id)
        if row is None or row.owner != self._database.account_id:
            return None
        return self._database.cipher.encrypted_at(row.access_token)

    async def find(self, account: str) -> LinkedAccount | None:
        """Find a linked account by its id, its ARN or Meta's WABA id."""
        async with self._database.reading() as session:
            row = await session.scalar(_with_numbers().where(*self._named(account)))
            return None if row is None else self._linked(row)

    async def with_phone_number(self, phone_number_id: str) -> LinkedAccount | None:
        """Find the account of a phone number by the number's id."""
        statement = (
            _with_numbers()
            .join(AccountRow.phone_numbers)
            .where(PhoneNumberRow.id == phone_number_id, AccountRow.owner == self._database.account_id)
        )
        async with self._database.reading() as session:
            row = await session.scalar(statement)
            return None if row is None else self._linked(row)

    async def linked_account(self, account_id: str) -> Account | None:
        """Find what calls about an account itself need, by its id (not its ARN: `Arns.read_waba`)."""
        async with self._database.reading() as session:
            row = await session.get(AccountRow, account_id)
        if row is None or row.owner != self._database.account_id:
            return None
        token = self._token(row.access_token, row.app_secret)
        return Account(id=row.id, arn=self._database.arns.arn(row.id), meta_id=row.meta_waba_id, token=token)

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find what calls on behalf of a phone number need, by its id (not its ARN: `Arns.read_phone_number`)."""
        statement = (
            select(PhoneNumberRow.id, PhoneNumberRow.meta_id, AccountRow.access_token, AccountRow.app_secret)
            .join(PhoneNumberRow.account)
            .where(PhoneNumberRow.id == phone_number_id, AccountRow.owner == self._database.account_id)
        )
        async with self._database.reading() as session:
            row = (await session.execute(statement)).one_or_none()
        if row is None:
            return None
        token = self._token(row.access_token, row.app_secret)
        return PhoneNumber(id=row.id, arn=self._database.arns.arn(row.id), meta_id=row.meta_id, token=token)

    async def first_numbers(self, size: int) -> tuple[list[LinkedPhoneNumber], int]:
        """List at most `size` numbers of the accounts linked first, and count all."""
        of_owner = AccountRow.owner == self._database.account_id
        statement = select(PhoneNumberRow).join(PhoneNumberRow.account).where(of_owner)
        in_order = statement.order_by(AccountRow.linked_at, AccountRow.id, PhoneNumberRow.meta_id).limit(size)
        count = select(func.count()).select_from(PhoneNumberRow).join(PhoneNumberRow.account).where(of_owner)
        async with self._database.reading() as session:
            return [self._number(row) for row in await session.scalars(in_order)], await session.scalar(count) or 0

    async def displayed(self, meta_ids: Collection[str]) -> dict[str, str]:
        """Return how Meta writes phone numbers, by Meta's ids, for those that are linked."""
        ids = [self._database.arns.phone_number_id(meta_id) for meta_id in meta_ids]
        statement = select(PhoneNumberRow.meta_id, PhoneNumberRow.display_phone_number).where(
            PhoneNumberRow.id.in_(ids)
        )
        async with self._database.reading() as session:
            return {row.meta_id: row.display_phone_number for row in await session.execute(statement)}

    async def have_app_secret(self) -> bool:
        """Whether an app secret came with one of them."""
        statement = select(AccountRow.id).where(
            AccountRow.owner == self._database.account_id, AccountRow.app_secret.is_not(None)
        )
        async with self._database.reading() as session:
            return await session.scalar(statement.limit(1)) is not None

    async def token_expiries(self) -> Mapping[str, datetime]:
        """Return when tokens end, by account id, for those that do."""
        statement = select(AccountRow.id, AccountRow.token_expires_at).where(
            AccountRow.owner == self._database.account_id, AccountRow.token_expires_at.is_not(None)
        )
        async with self._database.reading() as session:
            return {row.id: row.token_expires_at for row in await session.execute(statement) if row.token_expires_at}

    async def link_in(
        self, session: AsyncSession, account: MetaAccount, token: GraphToken, *, verified: bool = True
    ) -> LinkedAccount:
        """Link within a transaction that does more."""
        database, now = self._database, self._database.clock()
        id_ = database.arns.waba_id(account.meta_waba_id)
        row = await session.get(AccountRow, id_)
        if row is None:
            row = AccountRow(id=id_, owner=database.account_id, meta_waba_id=account.meta_waba_id, linked_at=now)
            session.add(row)
        row.name = account.name
        row.access_token = database.cipher.encrypt(token.access_token)
        if token.app_secret is not None or account.app_id is None or account.app_id != row.app_id:
            row.app_secret = database.encrypt(token.app_secret)
        row.app_id = account.app_id
        row.refreshed_at = now if verified else None
        row.token_expires_at = account.token_expires_at
        await session.flush()
        await self._replace_numbers(session, id_, account)
        await session.refresh(row, ["phone_numbers"])
        await database.raise_generation(session)
        return self._linked(row)

    async def _replace_numbers(self, session: AsyncSession, account_id: str, account: MetaAccount) -> None:
        numbers = {self._database.arns.phone_number_id(number.meta_id): number for number in account.phone_numbers}
        replaced = or_(PhoneNumberRow.account_id == account_id, PhoneNumberRow.id.in_(numbers))
        regions = {
            row.id: row.data_localization_region
            for row in await session.execute(
                select(PhoneNumberRow.id, PhoneNumberRow.data_localization_region).where(replaced)
            )
        }
        await session.execute(delete(TagRow).where(TagRow.resource_id.in_(regions.keys() - numbers.keys())))
        await session.execute(delete(PhoneNumberRow).where(replaced))
        session.add_all(
            PhoneNumberRow(
                id=id_,
                account_id=account_id,
                meta_id=number.meta_id,
                display_phone_number=number.display_phone_number,
                verified_name=number.verified_name,
                quality_rating=number.quality_rating,
                status=number.status,
                data_localization_region=number.data_localization_region or regions.get(id_),
            )
            for id_, number in numbers.items()
        )
        await session.flush()

    def _in_order(self) -> Any:
        return (
            _with_numbers()
            .where(AccountRow.owner == self._database.account_id)
            .order_by(AccountRow.linked_at, AccountRow.id)
        )

    def _named(self, account: str) -> tuple[Any, ...]:
        id_ = self._database.arns.read_waba(account)
        return (
            AccountRow.owner == self._database.account_id,
            AccountRow.meta_waba_id == account if id_ is None else AccountRow.id == id_,
        )

    def _token(self, access_token: str, app_secret: str | None) -> GraphToken:
        return GraphToken(self._database.cipher.decrypt(access_token), self._database.decrypt(app_secret))

    def _linked(self, row: AccountRow) -> LinkedAccount:
        return LinkedAccount(
            id=row.id,
            arn=self._database.arns.arn(row.id),
            meta_waba_id=row.meta_waba_id,
            name=row.name,
            phone_numbers=tuple(self._number(number) for number in row.phone_numbers),
            token_expires_at=row.token_expires_at,
            linked_at=row.linked_at,
            refreshed_at=row.refreshed_at,
            has_app_secret=row.app_secret is not None,
            app_id=row.app_id,
        )

    def _number(self, row: PhoneNumberRow) -> LinkedPhoneNumber:
        return LinkedPhoneNumber(
            id=row.id,
            arn=self._database.arns.arn(row.id),
            meta_id=row.meta_id,
            display_phone_number=row.display_phone_number,
            verified_name=row.verified_name,
            quality_rating=row.quality_rating,
            status=row.status,
            data_localization_region=row.data_localization_region,
        )


def _with_numbers() -> Any:
    return select(AccountRow).options(selectinload(AccountRow.phone_numbers))
