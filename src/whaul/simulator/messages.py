"""`POST /{version}/{phone-number-id}/messages`: what a business sends, kept for a look at it; and what customers send.

Checks what Meta checks first, and delivers nothing: a status follows on command only.
https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""

import base64
import json
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from whaul.simulator import webhooks
from whaul.simulator.answers import Answer, RefusedError, graph_error, graph_json
from whaul.simulator.state import Media, PhoneNumber, State
from whaul.simulator.webhooks import USER_ID, digits

KEPT = 10_000
"""Messages kept; older ones are forgotten."""
CUSTOMER = "15550100099"
"""Who writes, unless somebody else is named."""
MEDIA_TYPES = ("audio", "document", "image", "sticker", "video")
TYPES = frozenset({*MEDIA_TYPES, "contacts", "interactive", "location", "reaction", "template", "text"})
STATUSES = ("sent", "delivered", "read", "failed")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a business has sent, or marked as read."""

    id: str | None
    """None for a message that was marked as read."""
    phone_number_id: str
    version: str
    """Of the API that was called."""
    content: dict[str, Any] = field(repr=False)
    """The message object."""
    raw: bytes = field(repr=False)
    """The message object as it came."""
    contact: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """Whom it goes to, as the answer says it: `input`, and `wa_id` or `user_id`."""

    def describe(self) -> dict[str, Any]:
        """The message as JSON members."""
        return {
            "id": self.id,
            "phone_number_id": self.phone_number_id,
            "version": self.version,
            "contact": dict(self.contact),
            "message": self.content,
        }


class Mailbox:
    """The messages, both ways."""

    def __init__(self) -> None:
        self.sent: deque[Message] = deque(maxlen=KEPT)
        """Oldest first."""
        self.received: deque[str] = deque(maxlen=KEPT)
        """The ids of the messages of customers."""

    def clear(self) -> None:
        """Forget all."""
        self.sent.clear()
        self.received.clear()

    async def accept(self, state: State, request: web.Request, number_id: str) -> Answer:
        """Take a message, or refuse it as Meta would."""
        raw = await request.read()
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            raise _refused("The body is not JSON.") from exc
        if not isinstance(content, dict) or content.get("messaging_product") != "whatsapp":
            raise _refused("The parameter messaging_product is required.")
        version = request.match_info["version"]
        if content.get("status") == "read":
            if content.get("message_id") not in self.received:
                raise RefusedError(graph_error(131009, details="message_id is not that of a received message."))
            self.sent.append(Message(None, number_id, version, content, raw))
            return graph_json({"success": True})
        contact = _checked(state, content)
        message = Message(message_id(), number_id, version, content, raw, contact)
        self.sent.append(message)
        return graph_json({"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": message.id}]})

    def receive(
        self, state: State, number: PhoneNumber, media: Media | None, *, text: str, sender: str, file_name: str | None
    ) -> dict[str, Any]:
        """Let a customer write, and return the webhook that tells of it; `text` is a media's caption."""
        content = _received(media, text, file_name)
        received_id = message_id()
        self.received.append(received_id)
        return webhooks.message(number, {"id": received_id, "timestamp": str(int(state.now())), **content}, sender)

    def status(self, state: State, sent_id: str, status: str) -> dict[str, Any]:
        """Let a message that was sent arrive, be read, or fail, and return the webhook that tells of it.

        `KeyError` if there is no such message, `ValueError` if it cannot have that status.
        """
        message = next((message for message in self.sent if message.id == sent_id), None)
        if message is None:
            raise KeyError(sent_id)
        if status not in STATUSES:
            raise ValueError(f"A status is one of {', '.join(STATUSES)}.")
        if "wa_id" in message.contact and USER_ID.fullmatch(message.contact["input"]):
            raise ValueError("A message with a business-scoped user id in `to` is never delivered, and has no status.")
        told = {"id": sent_id, "status": status, "timestamp": str(int(state.now()))}
        return webhooks.status(state.phone_numbers[message.phone_number_id], told, message.contact)


def message_id() -> str:
    """A new id, in Meta's form."""
    return "wamid." + base64.b64encode(secrets.token_bytes(30)).decode()


def _received(media: Media | None, text: str, file_name: str | None) -> dict[str, Any]:
    """What a customer writes: the type, and the member that it names."""
    if media is None:
        return {"type": "text", "text": {"body": text}}
    kind = _kind_of(media.mime_type)
    digest = base64.b64encode(media.sha256()).decode()
    shown = {"id": media.id, "mime_type": media.mime_type, "sha256": digest}
    shown |= {"caption": text} if text and kind in {"document", "image", "video"} else {}
    shown |= {"filename": file_name or f"file-{media.id}"} if kind == "document" else {}
    return {"type": kind, kind: shown}


def _kind_of(mime_type: str) -> str:
    """The type of the message that a file of a MIME type comes in."""
    if mime_type.startswith("image/webp"):
        return "sticker"
    main = mime_type.partition("/")[0]
    return main if main in MEDIA_TYPES else "document"


def _checked(state: State, content: dict[str, Any]) -> dict[str, str]:
    """The recipient as the answer says it, if Meta would take the message."""
    contact, kind = _contact(content), content.get("type", "text")
    if not isinstance(kind, str) or kind not in TYPES:
        raise _refused(f"Param type must be one of {{{', '.join(sorted(TYPES))}}}.")
    body = content.get(kind)
    if type(body) is not (list if kind == "contacts" else dict):
        raise RefusedError(graph_error(131008, details=f"The parameter {kind} is missing."))
    media_id = body.get("id") if kind in MEDIA_TYPES and isinstance(body, dict) else None
    if media_id is not None and state.find(str(media_id)) is None:
        raise RefusedError(graph_error(131009, details=f"{kind}.id is not the id of a media."))
    if kind == "template" and "user_id" in contact and isinstance(body, dict):
        needs_number = body.get("name") in state.settings.authentication_templates or "bid_spec" in body
        if needs_number:
            raise RefusedError(graph_error(131062, details="This template goes to phone numbers only."))
    return contact


def _contact(content: Mapping[str, Any]) -> dict[str, str]:
    """Whom a message goes to: `to`, a phone number or a group's id, comes before `recipient`."""
    to, recipient, kind = content.get("to"), content.get("recipient"), content.get("recipient_type")
    if kind not in (None, "individual", "group"):
        raise _refused("Param recipient_type must be one of {individual, group}.")
    if kind == "group" and isinstance(to, str) and to:
        return {"input": to}
    if kind != "group" and isinstance(to, str) and digits(to):
        return {"input": to, "wa_id": digits(to)}  # also of a user id, to which nothing is delivered then
    if kind == "group" or to or recipient is None:
        raise _refused("The parameter to is required.")
    if not isinstance(recipient, str) or not USER_ID.fullmatch(recipient):
        raise _refused("Param recipient must be a business-scoped user id, such as US.13491208655302741918.")
    return {"input": recipient, "user_id": recipient}


def _refused(message: str) -> RefusedError:
    return RefusedError(graph_error(100, f"(#100) {message}"))
