"""Tags of linked accounts and phone numbers."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from whaul.registry.errors import TooManyTagsError
from whaul.registry.models import AccountRow, PhoneNumberRow, TagRow
from whaul.registry.records import Tags
from whaul.registry.tenant import Tenant

MAX_TAGS: Final = 50
"""Tags of one resource. https://docs.aws.amazon.com/tag-editor/latest/userguide/reference.html"""


class TaggedResources(Tenant):
    """What can be tagged; a resource is named by its id, `waba-…` or `phone-number-id-…`."""

    async def tags(self, resource_id: str) -> Tags | None:
        """List a resource's tags by key, in order; None when it is not linked."""
        async with self._reading() as session:
            if not await self._is_linked(session, resource_id):
                return None
            statement = select(TagRow).where(TagRow.resource_id == resource_id)
            rows = await session.scalars(statement)
            return {row.key: row.value for row in sorted(rows, key=lambda row: row.key)}

    async def tag(self, resource_id: str, tags: Tags) -> bool:
        """Set tags, replacing the values of keys that are there; False if not linked. Raises TooManyTagsError."""
        async with self._writing() as session:
            if not await self._is_linked(session, resource_id):
                return False
            await self._set_tags(session, resource_id, tags)
            return True

    async def untag(self, resource_id: str, keys: Collection[str]) -> bool:
        """Remove tags; keys that are not there do not matter. False when the resource is not linked."""
        async with self._writing() as session:
            if not await self._is_linked(session, resource_id):
                return False
            # The few that are there, not the keys that are asked for: a statement takes only so many of those.
            there = await session.scalars(select(TagRow.key).where(TagRow.resource_id == resource_id))
            gone = set(keys).intersection(there)
            await session.execute(delete(TagRow).where(TagRow.resource_id == resource_id, TagRow.key.in_(gone)))
            return True

    async def _set_tags(self, session: AsyncSession, resource_id: str, tags: Tags) -> None:
        if len(tags) > MAX_TAGS:
            raise TooManyTagsError
        await session.execute(delete(TagRow).where(TagRow.resource_id == resource_id, TagRow.key.in_(tags)))
        session.add_all(TagRow(resource_id=resource_id, key=key, value=value) for key, value in tags.items())
        await session.flush()
        count = select(func.count()).where(TagRow.resource_id == resource_id)
        if (await session.scalar(count) or 0) > MAX_TAGS:
            raise TooManyTagsError

    async def _is_linked(self, session: AsyncSession, resource_id: str) -> bool:
        account = select(AccountRow.id).where(AccountRow.id == resource_id, AccountRow.owner == self._account_id)
        number = (
            select(PhoneNumberRow.id)
            .join(PhoneNumberRow.account)
            .where(PhoneNumberRow.id == resource_id, AccountRow.owner == self._account_id)
        )
        return await session.scalar(account.union_all(number).limit(1)) is not None
