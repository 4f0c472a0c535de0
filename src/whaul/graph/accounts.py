"""WhatsApp Business Accounts at Meta: what a token may manage, what an account holds, registering its numbers.

https://developers.facebook.com/documentation/business-messaging/whatsapp/embedded-signup/overview
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from pydantic import SecretStr

from whaul.errors import ApiError
from whaul.graph.calls import GraphCalls, decoded, not_documented
from whaul.graph.errors import CallKind
from whaul.model import GraphToken

LARGEST_PAGE = 100
MOST_PAGES = 100
MANAGEMENT: Final = "whatsapp_business_management"
"""The permission whose targets are the accounts that a token manages."""
MAX_SECONDS_FOR_EXPIRY = 5.0
LAST_SECOND = 253_402_300_799
"""Of the year 9999."""
REGISTERING: Final = CallKind(is_repeatable=False, names_object=False)
"""Meta counts registrations, and locks a number after too many."""

_NUMBER_FIELDS: Final = "id,display_phone_number,verified_name,quality_rating,status"


@dataclass(frozen=True, slots=True)
class MetaPhoneNumber:
    """A phone number of a WhatsApp Business Account, as Meta describes it."""

    meta_id: str
    display_phone_number: str
    verified_name: str
    quality_rating: str
    status: str
    """Meta's word: CONNECTED, PENDING, DISCONNECTED, …."""


@dataclass(frozen=True, slots=True)
class MetaAccount:
    """A WhatsApp Business Account, as Meta describes it."""

    waba_id: str
    name: str
    phone_numbers: tuple[MetaPhoneNumber, ...]


@dataclass(frozen=True, slots=True)
class MetaToken:
    """An access token, as Meta describes it."""

    is_valid: bool
    account_ids: tuple[str, ...]
    """The accounts that it may manage, by Meta's ids, the newest first; a system user's token names none."""
    expires_at: datetime | None
    """When it, or its access to data, ends, whichever comes first; None for never."""


class _Account(msgspec.Struct):
    id: str
    name: str = ""


class _Number(msgspec.Struct):
    id: str
    display_phone_number: str = ""
    verified_name: str = ""
    quality_rating: str = "UNKNOWN"
    status: str = "UNKNOWN"


class _Cursors(msgspec.Struct):
    after: str | None = None


class _Paging(msgspec.Struct):
    cursors: _Cursors | None = None
    next: str | None = None


class _Numbers(msgspec.Struct):
    data: list[_Number]
    paging: _Paging | None = None


class _Scope(msgspec.Struct):
    scope: str
    target_ids: list[str] = []


class _Token(msgspec.Struct):
    is_valid: bool = False
    granular_scopes: list[_Scope] = []
    expires_at: object = 0
    data_access_expires_at: object = 0


class _DebuggedToken(msgspec.Struct):
    data: _Token


class AccountCalls(GraphCalls):
    """The calls about accounts."""

    async def token(self, token: GraphToken) -> MetaToken:
        """Ask what a token is good for.

        https://developers.facebook.com/docs/graph-api/reference/debug_token
        """
        doing = "checking the access token"
        query = {"input_token": token.access_token.get_secret_value()}
        found = decoded(await self._get(token, "debug_token", query, doing), _DebuggedToken, doing).data
        ids = [id_ for scope in found.granular_scopes if scope.scope == MANAGEMENT for id_ in scope.target_ids]
        ends = [moment for moment in map(_moment, (found.expires_at, found.data_access_expires_at)) if moment]
        return MetaToken(found.is_valid, tuple(dict.fromkeys(ids)), min(ends, default=None))

    async def token_expiry(self, token: GraphToken, known: datetime | None = None) -> datetime | None:
        """Ask when a token ends; the answer is `known` if Meta does not say, since nothing depends on it."""
        try:
            async with asyncio.timeout(MAX_SECONDS_FOR_EXPIRY):
                found = await self.token(token)
        except (ApiError, TimeoutError):
            return known
        return found.expires_at if found.is_valid else known

    async def account(self, token: GraphToken, waba_id: str) -> MetaAccount:
        """Read a WhatsApp Business Account and all its phone numbers: also the proof that the token is good."""
        doing = "reading the account"
        account = decoded(await self._get(token, waba_id, {"fields": "id,name"}, doing), _Account, doing)
        doing = "listing the account's phone numbers"
        numbers: list[_Number] = []
        after: str | None = None
        fields = {"fields": _NUMBER_FIELDS, "limit": str(LARGEST_PAGE)}
        for _ in range(MOST_PAGES):
            query = fields | ({"after": after} if after else {})
            page = decoded(await self._get(token, f"{waba_id}/phone_numbers", query, doing), _Numbers, doing)
            numbers += page.data
            cursors = page.paging.cursors if page.paging and page.paging.next else None
            after, before = cursors.after if cursors else None, after
            if not after or after == before:
                break
        else:
            raise not_documented(doing)
        return MetaAccount(
            waba_id=account.id,
            name=account.name,
            phone_numbers=tuple(
                MetaPhoneNumber(n.id, n.display_phone_number, n.verified_name, n.quality_rating, n.status)
                for n in numbers
            ),
        )

    async def register(self, token: GraphToken, meta_id: str, pin: SecretStr, region: str | None) -> None:
        """Register a phone number for the Cloud API; `region` is where its data is kept (ISO 3166, two letters).

        https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/registration
        """
        body = {"messaging_product": "whatsapp", "pin": pin.get_secret_value()}
        if region is not None:
            body["data_localization_region"] = region
        url = self._url(token, f"{meta_id}/register")
        doing = f"registering phone number {meta_id}"
        await self._call("POST", url, token, doing, body=msgspec.json.encode(body), kind=REGISTERING)

    async def subscribe(self, token: GraphToken, waba_id: str) -> None:
        """Subscribe the token's app to the account's webhooks."""
        await self._post(token, f"{waba_id}/subscribed_apps", {}, "subscribing the app to the account")


def _moment(value: object) -> datetime | None:
    """Read a Unix time; 0 means never, and what is none is taken to be."""
    if not isinstance(value, int) or not 0 < value <= LAST_SECOND:
        return None
    return datetime.fromtimestamp(value, UTC)
