"""Linked accounts and their phone numbers, read and written in transactions."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from whaul import arns
from whaul.model import Account, GraphToken, PhoneNumber
from whaul.registry.models import AccountRow, PhoneNumberRow, TagRow
from whaul.registry.pages import seal, unseal
from whaul.registry.records import (
    AccountPage,
    LinkedAccount,
    LinkedPhoneNumber,
    NewAccount,
    NewPhoneNumber,
)
from whaul.registry.tags import TaggedResources


class Accounts(TaggedResources):
    """The accounts of one account number."""

    async def link(self, new: NewAccount) -> LinkedAccount:
        """Link an account, or link it again: all of it is replaced but its id and its date.

        Afterwards its phone numbers are those given and no others; a number that another account had moves here.
        An app secret that is not given is forgotten.
        """
        async with self._writing() as session:
            return await self._link(session, new)

    async def unlink(self, account: str) -> bool:
        """Remove an account, its phone numbers and their tags; False if it is not linked.

        The account is given by its id, its ARN or Meta's WABA id.
        """
        async with self._writing() as session:
            id_ = await session.scalar(select(AccountRow.id).where(*self._named(account)))
            if id_ is None:
                return False
            numbers = select(PhoneNumberRow.id).where(PhoneNumberRow.account_id == id_)
            await session.execute(delete(TagRow).where(or_(TagRow.resource_id == id_, TagRow.resource_id.in_(numbers))))
            await session.execute(delete(AccountRow).where(AccountRow.id == id_))
            return True

    async def refresh(
        self,
        account_id: str,
        name: str,
        numbers: Iterable[NewPhoneNumber],
        token_expires_at: datetime | None = None,
    ) -> None:
        """Record what Meta says now of an account, its token, and those of its numbers that are linked."""
        said = {arns.phone_number_id(self._account_id, number.meta_id): number for number in numbers}
        async with self._writing() as session:
            statement = (
                select(AccountRow)
                .where(AccountRow.id == account_id, AccountRow.owner == self._account_id)
                .options(selectinload(AccountRow.phone_numbers))
            )
            account = await session.scalar(statement)
            if account is None:  # unlinked meanwhile
                return
            account.name, account.refreshed_at = name, self._clock()
            account.token_expires_at = token_expires_at
            for row in account.phone_numbers:
                number = said.get(row.id)
                if number is not None:
                    row.display_phone_number = number.display_phone_number
                    row.verified_name = number.verified_name
                    row.quality_rating = number.quality_rating
                    row.status = number.status

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

    async def token_expiries(self) -> dict[str, datetime]:
        """When the tokens end that do, by the ids of their accounts."""
        statement = select(AccountRow.id, AccountRow.token_expires_at).where(AccountRow.owner == self._account_id)
        async with self._reading() as session:
            return {row.id: row.token_expires_at for row in await session.execute(statement) if row.token_expires_at}

    async def account_page(self, most: int, token: str | None = None) -> AccountPage:
        """List linked accounts in the same order, at most so many, from where `token` (of the last page) points.

        Accounts that are linked or unlinked between two pages make others neither missing nor double. Raises
        PageTokenError.
        """
        statement = (
            select(AccountRow)
            .where(AccountRow.owner == self._account_id)
            .order_by(AccountRow.linked_at, AccountRow.id)
            .limit(most + 1)
            .options(selectinload(AccountRow.phone_numbers))
        )
        if token is not None:
            linked_at, id_ = unseal(self._cipher, self._account_id, token)
            later = AccountRow.linked_at > linked_at
            statement = statement.where(or_(later, and_(AccountRow.linked_at == linked_at, AccountRow.id > id_)))
        async with self._reading() as session:
            accounts = [self._account(row) for row in await session.scalars(statement)]
        page = tuple(accounts[:most])
        more = len(accounts) > most
        return AccountPage(
            page, seal(self._cipher, self._account_id, page[-1].linked_at, page[-1].id) if more else None
        )

    async def account(self, account: str) -> LinkedAccount | None:
        """Find a linked account, given its id, its ARN or Meta's WABA id."""
        statement = select(AccountRow).where(*self._named(account)).options(selectinload(AccountRow.phone_numbers))
        async with self._reading() as session:
            row = await session.scalar(statement)
            return None if row is None else self._account(row)

    async def account_with(self, phone_number_id: str) -> LinkedAccount | None:
        """Find the account that a phone number, given its id, is linked with."""
        statement = (
            select(AccountRow)
            .join(AccountRow.phone_numbers)
            .where(PhoneNumberRow.id == phone_number_id, AccountRow.owner == self._account_id)
            .options(selectinload(AccountRow.phone_numbers))
        )
        async with self._reading() as session:
            row = await session.scalar(statement)
            return None if row is None else self._account(row)

    async def credentials(self, account: str) -> GraphToken | None:
        """Find an account's token and app secret, given its id, its ARN or Meta's WABA id."""
        async with self._reading() as session:
            row = await session.scalar(select(AccountRow).where(*self._named(account)))
        if row is None:
            return None
        return GraphToken(self._cipher.decrypt(row.access_token), self._decrypt(row.app_secret))

    async def linked_account(self, account_id: str) -> Account | None:
        """Find a linked account with its token, given its id (not its ARN: see `arns.waba_id_from`)."""
        async with self._reading() as session:
            row = await session.get(AccountRow, account_id)
        if row is None or row.owner != self._account_id:
            return None
        return Account(
            id=row.id,
            arn=arns.waba_arn(row.id, self._account_id, self._region),
            meta_id=row.meta_waba_id,
            token=GraphToken(self._cipher.decrypt(row.access_token), self._decrypt(row.app_secret)),
        )

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked phone number, given its id (not its ARN: see `arns.phone_number_id_from`)."""
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
            arn=arns.phone_number_arn(row.id, self._account_id, self._region),
            meta_id=row.meta_id,
            token=GraphToken(self._cipher.decrypt(row.access_token), self._decrypt(row.app_secret)),
        )

    async def _link(self, session: AsyncSession, new: NewAccount) -> LinkedAccount:
        account_id, now = arns.waba_id(self._account_id, new.meta_waba_id), self._clock()
        account = await session.get(AccountRow, account_id)
        if account is None:
            account = AccountRow(id=account_id, owner=self._account_id, meta_waba_id=new.meta_waba_id, linked_at=now)
            session.add(account)
        account.name = new.name
        account.access_token = self._cipher.encrypt(new.access_token)
        account.app_secret = self._encrypt(new.app_secret)
        account.refreshed_at = now if new.verified else None
        account.token_expires_at = new.token_expires_at
        await session.flush()
        ids = {arns.phone_number_id(self._account_id, number.meta_id): number for number in new.phone_numbers}
        replaced = or_(PhoneNumberRow.account_id == account_id, PhoneNumberRow.id.in_(ids))
        known = {
            row.id: row.data_localization_region
            for row in await session.execute(
                select(PhoneNumberRow.id, PhoneNumberRow.data_localization_region).where(replaced)
            )
        }
        await session.execute(delete(TagRow).where(TagRow.resource_id.in_(known.keys() - ids.keys())))
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
                data_localization_region=number.data_localization_region or known.get(id_),
            )
            for id_, number in ids.items()
        )
        await session.flush()
        await session.refresh(account, ["phone_numbers"])
        return self._account(account)

    def _named(self, account: str) -> tuple[Any, ...]:
        id_ = arns.waba_id_from(account, self._account_id, self._region)
        return (
            AccountRow.owner == self._account_id,
            AccountRow.meta_waba_id == account if id_ is None else AccountRow.id == id_,
        )

    def _account(self, row: AccountRow) -> LinkedAccount:
        return LinkedAccount(
            id=row.id,
            arn=arns.waba_arn(row.id, self._account_id, self._region),
            meta_waba_id=row.meta_waba_id,
            name=row.name,
            linked_at=row.linked_at,
            has_app_secret=row.app_secret is not None,
            phone_numbers=tuple(
                LinkedPhoneNumber(
                    id=number.id,
                    arn=arns.phone_number_arn(number.id, self._account_id, self._region),
                    meta_id=number.meta_id,
                    display_phone_number=number.display_phone_number,
                    verified_name=number.verified_name,
                    quality_rating=number.quality_rating,
                    status=number.status,
                    data_localization_region=number.data_localization_region,
                )
                for number in row.phone_numbers
            ),
            refreshed_at=row.refreshed_at,
            token_expires_at=row.token_expires_at,
        )
