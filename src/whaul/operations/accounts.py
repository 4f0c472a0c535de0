"""The operations on linked accounts: list, show, unlink."""

from collections.abc import Mapping
from typing import Final

from whaul.api.response import Document, timestamp
from whaul.operations import event_destinations
from whaul.operations.call import ResourceCall, Row, not_linked, on_resource, on_service
from whaul.operations.listing import bad_token
from whaul.operations.shapes import linked_account, linked_account_summary, phone_number
from whaul.registry.errors import PageTokenError

PAGE_SIZE = 100
"""Accounts in one response when the caller does not say how many."""


async def list_accounts(call: ResourceCall) -> Document:
    """ListLinkedWhatsAppBusinessAccounts: the first linked first."""
    size, token = call.members.get("maxResults") or PAGE_SIZE, call.members.get("nextToken")
    try:
        page = await call.components.registry.accounts.page(size, token)
    except PageTokenError:
        raise bad_token() from None
    call.components.refreshes.served(page.accounts, call.record)
    destinations = await event_destinations.of(call.components, *(account.id for account in page.accounts))
    summaries = [
        linked_account_summary(account, timestamp, destinations.get(account.id, ())) for account in page.accounts
    ]
    document: Document = {"linkedAccounts": summaries}
    return document | ({"nextToken": page.next_token} if page.next_token is not None else {})


async def get_account(call: ResourceCall) -> Document:
    """GetLinkedWhatsAppBusinessAccount."""
    account = await call.components.registry.accounts.find(call.resource_id)
    if account is None:
        raise not_linked("account")
    call.components.refreshes.served([account], call.record)
    destinations = await event_destinations.of(call.components, account.id)
    return {"account": linked_account(account, timestamp, destinations.get(account.id, ()))}


async def get_number(call: ResourceCall) -> Document:
    """GetLinkedWhatsAppBusinessAccountPhoneNumber."""
    account = await call.components.registry.accounts.with_phone_number(call.resource_id)
    # An account is read before its numbers, and one of them may have gone in between.
    numbers = account.phone_numbers if account else ()
    number = next((number for number in numbers if number.id == call.resource_id), None)
    if account is None or number is None:
        raise not_linked("phone number")
    call.components.refreshes.served([account], call.record)
    return {"phoneNumber": phone_number(number), "linkedWhatsAppBusinessAccountId": account.id}


async def disassociate(call: ResourceCall) -> Document:
    """DisassociateWhatsAppBusinessAccount: the account, its numbers, its token and the tags are gone."""
    if not await call.components.registry.accounts.unlink(call.resource_id):
        raise not_linked("account")
    return {}


OPERATIONS: Final[Mapping[str, Row]] = {
    "ListLinkedWhatsAppBusinessAccounts": on_service(list_accounts),
    "GetLinkedWhatsAppBusinessAccount": on_resource(get_account),
    "GetLinkedWhatsAppBusinessAccountPhoneNumber": on_resource(get_number),
    "DisassociateWhatsAppBusinessAccount": on_resource(disassociate),
}
