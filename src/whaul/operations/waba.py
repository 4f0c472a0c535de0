"""WhatsApp Business Accounts and their tokens, as Meta describes them to those who link, sign up and refresh."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import msgspec

from whaul.errors import ApiError
from whaul.graph.client import GraphClient
from whaul.graph.errors import CallKind
from whaul.model import GraphToken, MetaAccount, MetaPhoneNumber

MANAGEMENT: Final = "whatsapp_business_management"
"""The permission whose targets are the accounts that a token manages."""
MAX_SECONDS_FOR_TOKEN = 5.0
LAST_SECOND = 253_402_300_799
"""Of the year 9999."""

READING_ACCOUNT: Final = CallKind(
    missing="Meta knows no WhatsApp Business Account with this id, or the access token may not see it. The id must be "
    "the account's own, not that of a phone number, an app or a business portfolio: WhatsApp Manager shows it. The "
    "token needs whatsapp_business_management for the account."
)
LINKING: Final = replace(
    READING_ACCOUNT,
    token="Meta does not accept the access token: it is wrong, expired or revoked. Use another one.",  # noqa: S106 - none, but advice
)

_NUMBER_FIELDS: Final = "id,display_phone_number,verified_name,quality_rating,status"


class _Account(msgspec.Struct):
    id: str
    name: str = ""


class _Number(msgspec.Struct):
    id: str
    display_phone_number: str = ""
    verified_name: str = ""
    quality_rating: str = "UNKNOWN"
    status: str = "UNKNOWN"


class _Scope(msgspec.Struct):
    scope: str
    target_ids: list[str] = []


class _Token(msgspec.Struct):
    is_valid: bool = False
    app_id: object = None
    granular_scopes: list[_Scope] = []
    expires_at: object = 0
    data_access_expires_at: object = 0


class _DebuggedToken(msgspec.Struct):
    data: _Token


async def read_account(
    graph: GraphClient, token: GraphToken, waba_id: str, call: CallKind = READING_ACCOUNT
) -> MetaAccount:
    """Read an account by Meta's id, which also proves that the token is good."""
    account = await graph.get(token, waba_id, _Account, "reading the account", call=call, fields="id,name")
    doing = "listing the account's phone numbers"
    numbers = await graph.pages(token, f"{waba_id}/phone_numbers", _Number, doing, call=call, fields=_NUMBER_FIELDS)
    return MetaAccount(
        meta_waba_id=account.id,
        name=account.name,
        phone_numbers=tuple(
            MetaPhoneNumber(n.id, n.display_phone_number, n.verified_name, n.quality_rating, n.status) for n in numbers
        ),
    )


@dataclass(frozen=True, slots=True)
class MetaToken:
    """An access token."""

    is_valid: bool
    account_ids: tuple[str, ...]
    """The accounts that it may manage, by Meta's ids, the newest first; a system user's token names none."""
    expires_at: datetime | None
    """When it, or its access to data, ends, whichever comes first; None for never."""
    app_id: str | None = None
    """The app that it is of; None if Meta does not say."""


async def read_token(graph: GraphClient, token: GraphToken) -> MetaToken:
    """Ask what a token is good for.

    https://developers.facebook.com/docs/graph-api/reference/debug_token and, for its accounts,
    https://developers.facebook.com/docs/whatsapp/embedded-signup/manage-accounts
    """
    secret, doing = token.access_token.get_secret_value(), "checking the access token"
    found = (await graph.get(token, "debug_token", _DebuggedToken, doing, input_token=secret)).data
    ids = [id_ for scope in found.granular_scopes if scope.scope == MANAGEMENT for id_ in scope.target_ids]
    ends = [moment for moment in map(_moment, (found.expires_at, found.data_access_expires_at)) if moment]
    app_id = str(found.app_id) if re.fullmatch(r"[0-9]{1,64}", str(found.app_id)) else None
    return MetaToken(found.is_valid, tuple(dict.fromkeys(ids)), min(ends, default=None), app_id)


async def with_token(
    graph: GraphClient, token: GraphToken, account: MetaAccount, known: MetaAccount | None = None
) -> MetaAccount:
    """Add what Meta says of the token to an account: when it ends, and whose app's it is.

    Nothing depends on it, so failures are ignored: then add what is `known` already.
    """
    expires_at = None if known is None else known.token_expires_at
    app_id = None if known is None else known.app_id
    with suppress(ApiError, TimeoutError):
        async with asyncio.timeout(MAX_SECONDS_FOR_TOKEN):
            found = await read_token(graph, token)
        if found.is_valid:
            expires_at, app_id = found.expires_at, found.app_id or app_id
    return replace(account, token_expires_at=expires_at, app_id=app_id)


async def account_to_link(graph: GraphClient, token: GraphToken, waba_id: str) -> MetaAccount:
    """Read all that is kept of an account when it is linked, or linked again. Raises ApiError."""
    return await with_token(graph, token, await read_account(graph, token, waba_id, LINKING))


def _moment(value: object) -> datetime | None:
    """Read a Unix time; 0, and anything that is not a time, means never."""
    if not isinstance(value, int) or not 0 < value <= LAST_SECOND:
        return None
    return datetime.fromtimestamp(value, UTC)
