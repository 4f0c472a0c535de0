"""The inputs of the operations on linked accounts; what they answer is shaped in `registry.shapes`."""

from whaul.wire.constraints import PHONE_NUMBER_ID, WABA_ID, Constraint, check, outside
from whaul.wire.protocol import query_members, whole_number

LARGEST_PAGE = 100
"""Accounts in one answer at the most, and when the caller does not say how many."""
NEXT_TOKEN = Constraint(least=1, most=600)


def waba_id(query: bytes) -> str:
    """Read the one member of operations on an account. Raises `ValidationException`, `SerializationException`."""
    return _id(query, WABA_ID)


def phone_number_id(query: bytes) -> str:
    """Read the one member of operations on a phone number. Raises as `waba_id` does."""
    return _id(query, PHONE_NUMBER_ID)


def list_accounts(query: bytes) -> tuple[int, str | None]:
    """Read the input of ListLinkedWhatsAppBusinessAccounts: how many accounts, and from where. Raises likewise."""
    members = query_members(query)
    token, most = members.get("nextToken"), whole_number(members, "maxResults")
    check([(NEXT_TOKEN, "nextToken", token)], outside("maxResults", most, 1, LARGEST_PAGE))
    return LARGEST_PAGE if most is None else most, token


def _id(query: bytes, constraint: Constraint) -> str:
    value = query_members(query).get("id")
    check([(constraint, "id", value)])
    return value or ""
