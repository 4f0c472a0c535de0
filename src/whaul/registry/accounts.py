"""Linked accounts and their phone numbers, read and written in transactions."""

from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import selectinload

from whaul.model import PhoneNumber
from whaul.registry import identifiers
from whaul.registry.models import AccountRow, PhoneNumberRow
from whaul.registry.records import AccountCredentials, LinkedAccount, LinkedPhoneNumber, NewAccount
from whaul.registry.tenant import Tenant


class Accounts(Tenant):
    """The accounts of one account number."""

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
