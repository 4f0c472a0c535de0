"""Who is who in a webhook: a person has a phone number, a business-scoped user id, or both.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

USER_ID = re.compile(r"([A-Z]{2})\.(ENT\.)?[A-Za-z0-9]{1,128}")
"""A business-scoped user id; with ENT it is a parent id, which several businesses share."""

CUSTOMER = "15550100099"
"""Who writes, unless somebody else is named."""

SENDER = {"wa_id": "from", "user_id": "from_user_id", "parent_user_id": "from_parent_user_id"}
RECIPIENT = {"wa_id": "recipient_id", "user_id": "recipient_user_id", "parent_user_id": "recipient_parent_user_id"}


def digits(text: str) -> str:
    """What is left of a phone number without what people write between its digits."""
    return re.sub(r"\D", "", text)


def person(known: str) -> dict[str, str]:
    """All ids of a person of whom one is known; the number is among them only if it is that one."""
    found = USER_ID.fullmatch(known)
    if found is None:
        return {"wa_id": known, "user_id": _user_id("US", known)}
    country, parent = found.groups()
    return {"user_id": _user_id(country, known), "parent_user_id": known} if parent else {"user_id": known}


def _user_id(country: str, someone: str) -> str:
    """A business-scoped user id that belongs to a person, the same each time."""
    return f"{country}.{int.from_bytes(hashlib.sha256(someone.encode()).digest()[:8], 'big')}"


def contact(ids: Mapping[str, str]) -> dict[str, Any]:
    """A person as an element of `contacts`: without a number they have a user name."""
    profile = {"name": "A customer"} | ({} if "wa_id" in ids else {"username": "a.customer"})
    return {"profile": profile, **ids}


def named(ids: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """The ids of a person under other names, such as those of `SENDER`."""
    return {names[name]: value for name, value in ids.items()}
