"""`POST /{version}/{phone-number-id}/messages`: what a business sends, kept for a look at it; and what customers send.

Checks what Meta checks first, and delivers nothing: no status follows.
https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
"""

import base64
import json
import re
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from whaul.simulator.answers import Answer, RefusedError, graph_error, graph_json
from whaul.simulator.state import WABA_ID, Media, PhoneNumber, State

KEPT = 10_000
"""Messages kept; older ones are forgotten."""
CUSTOMER = "15550100099"
"""Who writes, unless somebody else is named."""
MEDIA_TYPES = ("audio", "document", "image", "sticker", "video")
TYPES = frozenset({*MEDIA_TYPES, "contacts", "interactive", "location", "reaction", "template", "text"})


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

    def describe(self) -> dict[str, Any]:
        """The message as JSON members."""
        return {
            "id": self.id,
            "phone_number_id": self.phone_number_id,
            "version": self.version,
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
            raise RefusedError(graph_error(100, "(#100) The body is not JSON.")) from exc
        if not isinstance(content, dict) or content.get("messaging_product") != "whatsapp":
            raise RefusedError(graph_error(100, "(#100) The parameter messaging_product is required."))
        version = request.match_info["version"]
        if content.get("status") == "read":
            if content.get("message_id") not in self.received:
                raise RefusedError(graph_error(131009, details="message_id is not that of a received message."))
            self.sent.append(Message(None, number_id, version, content, raw))
            return graph_json({"success": True})
        recipient = _checked(state, content)
        message = Message(message_id(), number_id, version, content, raw)
        self.sent.append(message)
        contact = {"input": content["to"], "wa_id": recipient}
        return graph_json({"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": message.id}]})

    def receive(
        self, state: State, number: PhoneNumber, media: Media | None, *, text: str, sender: str, file_name: str | None
    ) -> dict[str, Any]:
        """Let a customer write, and return the webhook that tells of it; `text` is a media's caption."""
        received: dict[str, Any] = {"from": sender, "id": message_id(), "timestamp": str(int(state.now()))}
        self.received.append(received["id"])
        if media is None:
            received |= {"type": "text", "text": {"body": text}}
        else:
            kind = kind_of(media.mime_type)
            digest = base64.b64encode(media.sha256()).decode()
            shown: dict[str, Any] = {"id": media.id, "mime_type": media.mime_type, "sha256": digest}
            shown |= {"caption": text} if text and kind in {"document", "image", "video"} else {}
            shown |= {"filename": file_name or f"file-{media.id}"} if kind == "document" else {}
            received |= {"type": kind, kind: shown}
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": _digits(number.display_phone_number), "phone_number_id": number.id},
            "contacts": [{"profile": {"name": "A customer"}, "wa_id": sender}],
            "messages": [received],
        }
        entry = {"id": WABA_ID, "changes": [{"value": value, "field": "messages"}]}
        return {"object": "whatsapp_business_account", "entry": [entry]}


def kind_of(mime_type: str) -> str:
    """The type of the message that a file of a MIME type comes in."""
    if mime_type.startswith("image/webp"):
        return "sticker"
    main = mime_type.partition("/")[0]
    return main if main in MEDIA_TYPES else "document"


def message_id() -> str:
    """A new id, in Meta's form."""
    return "wamid." + base64.b64encode(secrets.token_bytes(30)).decode()


def _checked(state: State, content: dict[str, Any]) -> str:
    """The recipient's digits, if Meta would take the message."""
    recipient, kind = content.get("to"), content.get("type", "text")
    if not isinstance(recipient, str) or not _digits(recipient):
        raise RefusedError(graph_error(100, "(#100) The parameter to is required."))
    if not isinstance(kind, str) or kind not in TYPES:
        raise RefusedError(graph_error(100, f"(#100) Param type must be one of {{{', '.join(sorted(TYPES))}}}."))
    body = content.get(kind)
    if type(body) is not (list if kind == "contacts" else dict):
        raise RefusedError(graph_error(131008, details=f"The parameter {kind} is missing."))
    media_id = body.get("id") if kind in MEDIA_TYPES and isinstance(body, dict) else None
    if media_id is not None and state.find(str(media_id)) is None:
        raise RefusedError(graph_error(131009, details=f"{kind}.id is not the id of a media."))
    return _digits(recipient)


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
