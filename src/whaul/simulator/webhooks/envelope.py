"""The body that Meta posts: `object`, `entry`, `changes`, and what is common to the values of a phone number."""

import base64
import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from whaul.simulator.download_urls import signed_url
from whaul.simulator.media import Media
from whaul.simulator.model import PhoneNumber
from whaul.simulator.state import State
from whaul.simulator.webhooks.people import RECIPIENT, SENDER, contact, digits, named, person

PRICING = {"billable": True, "pricing_model": "PMP", "category": "service", "type": "regular"}
UNDELIVERABLE = {"code": 131026, "title": "Message undeliverable", "message": "Message undeliverable"}


def of_number(number: PhoneNumber, members: Mapping[str, Any]) -> dict[str, Any]:
    """A value that concerns a phone number."""
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": digits(number.display_phone_number), "phone_number_id": number.id},
        **members,
    }


def message(number: PhoneNumber, received: Mapping[str, Any], sender: str) -> dict[str, Any]:
    """A customer has written; `sender` is a phone number, or a user id: then the customer has a user name instead."""
    ids = person(sender)
    return of_number(number, {"contacts": [contact(ids)], "messages": [{**named(ids, SENDER), **received}]})


def show_media(state: State, media: Media, *, in_hex: bool = False) -> dict[str, Any]:
    """A media as webhooks show it. Its download URL is made anew for every attempt."""
    digest = media.sha256()
    return {
        "mime_type": media.mime_type,
        "sha256": digest.hex() if in_hex else base64.b64encode(digest).decode(),
        "id": media.id,
        "url": signed_url(state, media, state.origin),
    }


def new_message_id() -> str:
    """A new id, in Meta's form."""
    return "wamid." + base64.b64encode(secrets.token_bytes(30)).decode()


def status(number: PhoneNumber, told: Mapping[str, Any], recipient: Mapping[str, str]) -> dict[str, Any]:
    """A message that was sent has a status; `recipient` is the contact of the response to it."""
    known = recipient.get("wa_id") or recipient.get("user_id")
    if known is None:
        return of_number(
            number, {"statuses": [{**told, "recipient_id": recipient["input"], "recipient_type": "group"}]}
        )
    ids = person(known)
    if told["status"] != "failed":
        return of_number(number, {"contacts": [contact(ids)], "statuses": [{**told, **named(ids, RECIPIENT)}]})
    ids = {"wa_id": known} if "wa_id" in ids else ids
    return of_number(number, {"statuses": [{"errors": [UNDELIVERABLE], **told, **named(ids, RECIPIENT)}]})


def webhook(waba_id: str, field: str, values: Iterable[Mapping[str, Any]], now: float) -> dict[str, Any]:
    """One POST's body: an entry with a change for each value. Only what concerns no number has a `time`."""
    changes = [{"value": value, "field": field} for value in values]
    of_account = not any("messaging_product" in change["value"] for change in changes)
    entry = {"id": waba_id} | ({"time": int(now)} if of_account else {}) | {"changes": changes}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def encoded(content: Any) -> bytes:
    r"""JSON as Meta writes it: compact, other characters as `\u` escapes, slashes escaped."""
    return json.dumps(content, separators=(",", ":")).replace("/", "\\/").encode()


def concerns(content: Mapping[str, Any] | bytes) -> tuple[str, str | None, bool]:
    """The field and number of a webhook, as its first change says, and whether it is the dashboard's sample."""
    if isinstance(content, bytes):
        return "messages", None, False
    try:
        entry = content["entry"][0]
        change = entry["changes"][0]
        number = change["value"].get("metadata", {}).get("phone_number_id")
        return str(change["field"]), number, entry["id"] == "0"
    except (KeyError, IndexError, TypeError, AttributeError):
        return "messages", None, False


def renewed(state: State, body: bytes, copy: int) -> bytes:
    """The body with new download URLs, which live five minutes only; what is no webhook stays as it is."""
    if b'"url"' not in body:
        return body
    try:
        content = json.loads(body)
    except ValueError:
        return body
    for shown in _media_in(content):
        media = state.find(shown["id"])
        if media is not None:
            shown["url"] = f"{signed_url(state, media, state.origin)}&copy={copy}"
    return encoded(content)


def _media_in(content: Any) -> Iterable[dict[str, Any]]:
    """The media objects in a webhook, wherever they are."""
    if isinstance(content, dict):
        if isinstance(content.get("id"), str) and "mime_type" in content and "url" in content:
            yield content
        for member in content.values():
            yield from _media_in(member)
    elif isinstance(content, list):
        for member in content:
            yield from _media_in(member)
