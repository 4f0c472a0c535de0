"""Tags of linked accounts and phone numbers. A resource is named by its id, `waba-…` or `phone-number-id-…`."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from whaul.registry.database import Database
from whaul.registry.errors import TooManyTagsError
from whaul.registry.tables import AccountRow, PhoneNumberRow, TagRow

MAX_TAGS: Final = 50
"""Tags of one resource. https://docs.aws.amazon.com/tag-editor/latest/userguide/reference.html"""

TagValues = dict[str, str]
"""The tags of a resource: values by key."""


class Tags:
    """The tags of what is linked under one account number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, resource_id: str) -> TagValues | None:
        """Return a resource's tags, sorted by key; None if it is not linked."""
        async with self._database.reading() as session:
            if not await self._is_linked(session, resource_id):
                return None
            rows = await session.scalars(select(TagRow).where(TagRow.resource_id == resource_id))
            return {row.key: row.value for row in sorted(rows, key=lambda row: row.key)}

    async def set(self, resource_id: str, tags: TagValues) -> bool:
        """Set tags, replacing the values of keys that exist; False if the resource is not linked.

        Raises TooManyTagsError.
        """
        async with self._database.writing() as session:
            if not await self._is_linked(session, resource_id):
                return False
            await self.set_in(session, resource_id, tags)
            return True

    async def remove(self, resource_id: str, keys: Collection[str]) -> bool:
        """Remove tags, ignoring keys that do not exist; False if the resource is not linked."""
        async with self._database.writing() as session:
            if not await self._is_linked(session, resource_id):
                return False
            # The few that are there, not the keys that are asked for: a statement takes only so many of those.
            there = await session.scalars(select(TagRow.key).where(TagRow.resource_id == resource_id))
            gone = [key for key in there if key in keys]
            await session.execute(delete(TagRow).where(TagRow.resource_id == resource_id, TagRow.key.in_(gone)))
            return True

    async def set_in(self, session: AsyncSession, resource_id: str, tags: TagValues) -> None:
        """Set tags of a linked resource within a transaction that does more."""
        if len(tags) > MAX_TAGS:
            raise TooManyTagsError
        await session.execute(delete(TagRow).where(TagRow.resource_id == resource_id, TagRow.key.in_(tags)))
        session.add_all(TagRow(resource_id=resource_id, key=key, value=value) for key, value in tags.items())
        await session.flush()
        count = select(func.count()).where(TagRow.resource_id == resource_id)
        if (await session.scalar(count) or 0) > MAX_TAGS:
            raise TooManyTagsError

    async def _is_linked(self, session: AsyncSession, resource_id: str) -> bool:
        owner = self._database.account_id
        account = select(AccountRow.id).where(AccountRow.id == resource_id, AccountRow.owner == owner)
        number = (
            select(PhoneNumberRow.id)
            .join(PhoneNumberRow.account)
            .where(PhoneNumberRow.id == resource_id, AccountRow.owner == owner)
        )
        return await session.scalar(account.union_all(number).limit(1)) is not None
