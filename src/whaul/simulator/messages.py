"""`POST /{version}/{phone-number-id}/messages`: what a business sends, kept for a look at it; and what customers send.

Checks what Meta checks first, and delivers nothing: a status follows on command only.
https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from whaul.simulator import webhooks
from whaul.simulator.calls import Call
from whaul.simulator.media import Media
from whaul.simulator.responses import RefusedError, graph_error, invalid
from whaul.simulator.state import Message, PhoneNumber, State
from whaul.simulator.values import BadValueError, MissingError
from whaul.simulator.webhooks import USER_ID, digits

CUSTOMER = "15550100099"
"""Who writes, unless somebody else is named."""
MEDIA_TYPES = ("audio", "document", "image", "sticker", "video")
TYPES = frozenset({*MEDIA_TYPES, "contacts", "interactive", "location", "reaction", "template", "text"})
STATUSES = ("sent", "delivered", "read", "failed")


async def send(call: Call) -> Any:
    """Take a message, or refuse it as Meta would."""
    content = await call.body()
    if content.get("messaging_product") != "whatsapp":
        raise invalid("The parameter messaging_product is required.")
    marks = content.get("status") == "read"
    if marks and content.get("message_id") not in call.state.received:
        raise RefusedError(graph_error(131009, details="message_id is not that of a received message."))
    contact = {} if marks else _checked(call.state, content)
    sent_id = None if marks else _message_id()
    version, raw = call.request.match_info["version"], await call.request.read()
    call.state.messages.append(Message(sent_id, call.object.id, version, content, raw, contact))
    if marks:
        return {"success": True}
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": sent_id}]}


def receive(
    state: State, number: PhoneNumber, media: Media | None, *, text: str, sender: str, file_name: str | None
) -> dict[str, Any]:
    """Let a customer write, and return the webhook for it; `text` is a media's caption."""
    received_id, content = _message_id(), _received(media, text, file_name)
    state.received.append(received_id)
    return webhooks.message(number, {"id": received_id, "timestamp": str(int(state.now())), **content}, sender)


def give_status(state: State, sent_id: str, status: str) -> dict[str, Any]:
    """Let a message that was sent arrive, be read, or fail, and return the webhook for it.

    Raises `MissingError` if there is no such message, `BadValueError` if it cannot have that status.
    """
    message = next((message for message in state.messages if message.id == sent_id), None)
    if message is None:
        raise MissingError(f"No message {sent_id} was sent.")
    if status not in STATUSES:
        raise BadValueError(f"There is no status {status}.", STATUSES)
    if "wa_id" in message.contact and USER_ID.fullmatch(message.contact["input"]):
        raise BadValueError("A message with a business-scoped user id in `to` is never delivered, and has no status.")
    told = {"id": sent_id, "status": status, "timestamp": str(int(state.now()))}
    return webhooks.status(state.phone_number(message.phone_number_id), told, message.contact)


def _message_id() -> str:
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
    """The recipient as the response says it, if Meta would take the message."""
    contact, kind = _contact(content), content.get("type", "text")
    if not isinstance(kind, str) or kind not in TYPES:
        raise invalid(f"Param type must be one of {{{', '.join(sorted(TYPES))}}}.")
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
        raise invalid("Param recipient_type must be one of {individual, group}.")
    if kind == "group" and isinstance(to, str) and to:
        return {"input": to}
    if kind != "group" and isinstance(to, str) and digits(to):
        return {"input": to, "wa_id": digits(to)}  # also of a user id, to which nothing is delivered then
    if kind == "group" or to or recipient is None:
        raise invalid("The parameter to is required.")
    if not isinstance(recipient, str) or not USER_ID.fullmatch(recipient):
        raise invalid("Param recipient must be a business-scoped user id, such as US.13491208655302741918.")
    return {"input": recipient, "user_id": recipient}
