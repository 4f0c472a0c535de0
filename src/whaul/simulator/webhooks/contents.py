"""An example of each type of message, as in Meta's reference.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from whaul.simulator.webhooks.scene import Scene, new_id

Content = Callable[[Scene], dict[str, Any]]

UNSUPPORTED = {
    "code": 131051,
    "title": "Message type unknown",
    "message": "Message type unknown",
    "error_data": {"details": "Message type is currently not supported."},
}
NOT_DOWNLOADED = {
    "code": 131052,
    "title": "Media download error",
    "message": "Media download error",
    "error_data": {"details": "Failed to download the media from the sender."},
}


def _text(scene: Scene) -> dict[str, Any]:
    return {"type": "text", "text": {"body": scene.text}}


def _about(scene: Scene) -> dict[str, Any]:
    return {"context": {"from": scene.business, "id": scene.message_id}}


def _forwarded(scene: Scene) -> dict[str, Any]:
    return {"context": {"forwarded": True}, **_text(scene)}


def _referral(scene: Scene) -> dict[str, Any]:
    referral = {
        "source_url": "https://fb.me/example",
        "source_id": "120200000000000001",
        "source_type": "ad",
        "body": "Fresh fish every day",
        "headline": "The harbour shop",
        "media_type": "image",
        "image_url": "https://scontent.example/ad.jpg",
        "ctwa_clid": "ARAkLkA8rmlFeiCktEJQ",
    }
    return {"referral": referral, **_text(scene)}


def _group(scene: Scene) -> dict[str, Any]:
    return {"group_id": new_id(), **_text(scene)}


def _interactive(kind: str, **members: Any) -> Content:
    return lambda scene: {**_about(scene), "type": "interactive", "interactive": {"type": kind, kind: members}}


def _location(_: Scene) -> dict[str, Any]:
    place = {
        "latitude": 54.3213,
        "longitude": 10.1349,
        "name": "Harbour",
        "address": "Quay 1",
        "url": "https://x.example",
    }
    return {"type": "location", "location": place}


def _order(scene: Scene) -> dict[str, Any]:
    item = {"product_retailer_id": "di9ozbzfi4", "quantity": 2, "item_price": 30.5, "currency": "EUR"}
    return {"type": "order", "order": {"catalog_id": "194836987003835", "text": scene.text, "product_items": [item]}}


def _contacts(_: Scene) -> dict[str, Any]:
    name = {"formatted_name": "Ana Sample", "first_name": "Ana", "last_name": "Sample"}
    phone = {"phone": "+1 555-010-0123", "wa_id": "15550100123", "type": "CELL"}
    return {"type": "contacts", "contacts": [{"name": name, "phones": [phone]}]}


def _new_number(scene: Scene) -> dict[str, Any]:
    told = {"body": "A customer changed their number", "wa_id": "15550100124", "type": "user_changed_number"}
    return {"type": "system", "system": told | {"user_id": scene.ids["user_id"]}}


def _new_user_id(_: Scene) -> dict[str, Any]:
    told = {"body": "A customer changed their user id", "user_id": "US.22222222222222222222"}
    return {"type": "system", "system": told | {"type": "user_changed_user_id"}}


def _edit(content: Content) -> Content:
    def edit(scene: Scene) -> dict[str, Any]:
        message = {**content(scene), "context": {"id": scene.message_id}}
        return {"type": "edit", "edit": {"original_message_id": scene.message_id, "message": message}}

    return edit


MESSAGES: Mapping[str, Content] = {
    "text": _text,
    "image": lambda scene: scene.media("image", caption=scene.text),
    "video": lambda scene: scene.media("video", caption=scene.text),
    "audio": lambda scene: scene.media("audio", voice=True),
    "document": lambda scene: scene.media("document", caption=scene.text, filename="page.pdf"),
    "sticker": lambda scene: scene.media("sticker", animated=False),
    "reply": lambda scene: {**_about(scene), **_text(scene)},
    "forwarded": _forwarded,
    "referral": _referral,
    "group": _group,
    "button": lambda scene: {**_about(scene), "type": "button", "button": {"payload": "yes", "text": "Yes"}},
    "button_reply": _interactive("button_reply", id="yes", title="Yes"),
    "list_reply": _interactive("list_reply", id="fish", title="Fish", description="Of today"),
    "nfm_reply": _interactive(
        "nfm_reply", response_json=json.dumps({"flow_token": "t", "name": "Ana"}), body="Sent", name="flow"
    ),
    "call_permission_reply": _interactive(
        "call_permission_reply", response="accept", expiration_timestamp="1900000000", response_source="user_action"
    ),
    "reaction": lambda scene: {"type": "reaction", "reaction": {"message_id": scene.message_id, "emoji": "👍"}},
    "reaction_removed": lambda scene: {"type": "reaction", "reaction": {"message_id": scene.message_id}},
    "location": _location,
    "order": _order,
    "contacts": _contacts,
    "system": _new_number,
    "system_user_id": _new_user_id,
    "edit": _edit(_text),
    "edit_image": _edit(lambda scene: scene.media("image", in_hex=True, caption=scene.text)),
    "revoke": lambda scene: {"type": "revoke", "revoke": {"original_message_id": scene.message_id}},
    "request_welcome": lambda _: {"type": "request_welcome"},
    "unsupported": lambda _: {"type": "unsupported", "errors": [UNSUPPORTED], "unsupported": {"type": "poll"}},
    "unsupported_media": lambda _: {"type": "unsupported", "errors": [NOT_DOWNLOADED]},
}
"""What a customer's message holds, by the name of the example."""
WITHOUT_CONTACTS = frozenset({"system", "system_user_id"})
