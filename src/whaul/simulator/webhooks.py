"""The webhooks of messages, as Meta would post them: who is who in them. Nothing is posted here.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from whaul.simulator.state import WABA_ID, PhoneNumber

USER_ID = re.compile(r"([A-Z]{2})\.(ENT\.)?[A-Za-z0-9]{1,128}")
"""A business-scoped user id; with ENT it is a parent id, which several businesses share."""
UNDELIVERABLE = {"code": 131026, "title": "Message undeliverable", "message": "Message undeliverable"}


def message(number: PhoneNumber, received: Mapping[str, Any], sender: str) -> dict[str, Any]:
    """A customer has written; `sender` is a phone number, or a user id: then the customer has a user name instead."""
    person = _person(sender)
    names = {"wa_id": "from", "user_id": "from_user_id", "parent_user_id": "from_parent_user_id"}
    return _webhook(number, {"contacts": [_contact(person)], "messages": [{**_renamed(person, names), **received}]})


def status(number: PhoneNumber, told: Mapping[str, Any], recipient: Mapping[str, str]) -> dict[str, Any]:
    """A message that was sent has a status; `recipient` is the contact of the response to it."""
    known = recipient.get("wa_id") or recipient.get("user_id")
    if known is None:
        return _webhook(number, {"statuses": [{**told, "recipient_id": recipient["input"], "recipient_type": "group"}]})
    person = _person(known)
    names = {"wa_id": "recipient_id", "user_id": "recipient_user_id", "parent_user_id": "recipient_parent_user_id"}
    if told["status"] != "failed":
        return _webhook(number, {"contacts": [_contact(person)], "statuses": [{**told, **_renamed(person, names)}]})
    person = {"wa_id": known} if "wa_id" in person else person
    return _webhook(number, {"statuses": [{**told, **_renamed(person, names), "errors": [UNDELIVERABLE]}]})


def digits(text: str) -> str:
    """What is left of a phone number without what people write between its digits."""
    return re.sub(r"\D", "", text)


def _person(known: str) -> dict[str, str]:
    """All ids of a person of whom one is known; the number is among them only if it is that one."""
    found = USER_ID.fullmatch(known)
    if found is None:
        return {"wa_id": known, "user_id": _user_id("US", known)}
    country, parent = found.groups()
    return {"user_id": _user_id(country, known), "parent_user_id": known} if parent else {"user_id": known}


def _user_id(country: str, person: str) -> str:
    """A business-scoped user id that belongs to a person, the same each time."""
    return f"{country}.{int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], 'big')}"


def _contact(person: Mapping[str, str]) -> dict[str, Any]:
    profile = {"name": "A customer"} | ({} if "wa_id" in person else {"username": "a.customer"})
    return {"profile": profile, **person}


def _renamed(members: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    return {names[name]: value for name, value in members.items()}


def _webhook(number: PhoneNumber, members: Mapping[str, Any]) -> dict[str, Any]:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": digits(number.display_phone_number), "phone_number_id": number.id},
        **members,
    }
    entry = {"id": WABA_ID, "changes": [{"value": value, "field": "messages"}]}
    return {"object": "whatsapp_business_account", "entry": [entry]}
