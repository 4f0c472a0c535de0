"""`POST /{version}/{phone-number-id}/messages`: what a business sends, kept for a look at it; and what customers send.

Checks what Meta checks first, and delivers nothing. Where webhooks go, a message soon has the statuses of the setting
`message_statuses`; elsewhere on command only.
https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, get_args

from whaul.simulator.calls import Call
from whaul.simulator.media import Media
from whaul.simulator.model import Message, PhoneNumber
from whaul.simulator.responses import RefusedError, graph_error, invalid
from whaul.simulator.settings import Status
from whaul.simulator.state import WABA_ID, State
from whaul.simulator.template_calls import Reviewing
from whaul.simulator.templates import EXAMPLES
from whaul.simulator.values import BadValueError, MissingError
from whaul.simulator.webhooks import envelope
from whaul.simulator.webhooks.deliveries import Webhook
from whaul.simulator.webhooks.people import USER_ID, digits
from whaul.simulator.webhooks.sender import Webhooks

MEDIA_TYPES = ("audio", "document", "image", "sticker", "video")
TYPES = frozenset({*MEDIA_TYPES, "contacts", "interactive", "location", "reaction", "template", "text"})
SUB_TYPES = ("catalog", "copy_code", "flow", "mpm", "order_details", "quick_reply", "url", "voice_call")
"""What buttons of a template are called when it is sent."""
NOT_FETCHED = {
    "code": 131053,
    "title": "Media upload error",
    "message": "Media upload error",
    "error_data": {"details": "Downloading media from weblink failed with http code 403, status message Forbidden."},
}
MAX_WITH_FLOW = 1024 * 1024
"""Bytes: https://github.com/WhatsApp/WhatsApp-Flows-Tools/issues/43"""
STATUSES: tuple[Status, ...] = get_args(Status)


async def send(call: Call) -> Any:
    """Take a message, or refuse it as Meta would."""
    content = await call.body()
    if content.get("messaging_product") != "whatsapp":
        raise invalid("The parameter messaging_product is required.")
    marks = content.get("status") == "read"
    if marks and content.get("message_id") not in call.state.received:
        raise RefusedError(graph_error(131009, details="message_id is not that of a received message."))
    contact = {} if marks else _checked(call, content)
    sent_id = None if marks else envelope.new_message_id()
    version, raw = call.request.match_info["version"], await call.request.read()
    message = Message(sent_id, call.object.id, version, content, raw, contact)
    call.state.messages.append(message)
    if marks:
        return {"success": True}
    call.afterwards.append(partial(_tell_statuses, call.state, call.webhooks, message))
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": sent_id}]}


def receive(
    state: State, number: PhoneNumber, media: Media | None, *, text: str, sender: str, file_name: str | None
) -> dict[str, Any]:
    """Let a customer write, and return the value of the webhook for it; `text` is a media's caption."""
    received_id, content = envelope.new_message_id(), _received(state, media, text, file_name)
    state.received.append(received_id)
    return envelope.message(number, {"id": received_id, "timestamp": str(int(state.now())), **content}, sender)


def give_status(state: State, sent_id: str, status: str) -> dict[str, Any]:
    """Let a message that was sent arrive, be read, or fail, and return the value of the webhook for it.

    Raises `MissingError` if there is no such message, `BadValueError` if it cannot have that status.
    """
    message = next((message for message in state.messages if message.id == sent_id), None)
    if message is None:
        raise MissingError(f"No message {sent_id} was sent.")
    if status not in STATUSES:
        raise BadValueError(f"There is no status {status}.", STATUSES)
    if _is_lost(message):
        raise BadValueError("A message like this is never delivered, and has no status. docs/simulator.md says which.")
    return _status(state, message, status)


def _tell_statuses(state: State, webhooks: Webhooks, message: Message) -> None:
    """Let a message that was sent have its statuses, one after the other, if anybody is told of them."""
    if _is_lost(message) or not state.apps.have_receiver(message.phone_number_id):
        return

    def tell(status: str) -> Callable[[], Webhook]:
        return lambda: webhooks.emit(WABA_ID, "messages", _status(state, message, status))

    webhooks.in_turn([tell(status) for status in _statuses(state, message)])


def _statuses(state: State, message: Message) -> tuple[Status, ...]:
    """The statuses that a message will have: those of the setting, if Meta can fetch its media."""
    return ("failed",) if _has_example(state, message) else state.settings.message_statuses


def _has_example(state: State, message: Message) -> bool:
    """Whether a media's link is one that Meta shows as the example of a template's header."""
    return any(link.startswith(state.origin + EXAMPLES) for link in _links(message.content))


def _is_lost(message: Message) -> bool:
    """Whether Meta takes a message, and never delivers it: to a user id in the wrong place, or with too much data."""
    if len(message.raw) > MAX_WITH_FLOW and message.content.get("type") in {"interactive", "template"}:
        return True
    return "wa_id" in message.contact and USER_ID.fullmatch(message.contact["input"]) is not None


def _status(state: State, message: Message, status: str) -> dict[str, Any]:
    told: dict[str, Any] = {"id": message.id, "status": status, "timestamp": str(int(state.now()))}
    if "biz_opaque_callback_data" in message.content:
        told["biz_opaque_callback_data"] = message.content["biz_opaque_callback_data"]
    if status != "failed":
        told["pricing"] = envelope.PRICING
    elif _has_example(state, message):
        told["errors"] = [NOT_FETCHED]
    return envelope.status(state.phone_number(message.phone_number_id), told, message.contact)


def _received(state: State, media: Media | None, text: str, file_name: str | None) -> dict[str, Any]:
    """What a customer writes: the type, and the member that it names."""
    if media is None:
        return {"type": "text", "text": {"body": text}}
    kind = _kind_of(media.mime_type)
    shown = envelope.show_media(state, media)
    shown |= {"caption": text} if text and kind in {"document", "image", "video"} else {}
    shown |= {"filename": file_name or f"file-{media.id}"} if kind == "document" else {}
    return {"type": kind, kind: shown}


def _kind_of(mime_type: str) -> str:
    """The type of the message that a file of a MIME type comes in."""
    if mime_type.startswith("image/webp"):
        return "sticker"
    main = mime_type.partition("/")[0]
    return main if main in MEDIA_TYPES else "document"


def _checked(call: Call, content: dict[str, Any]) -> dict[str, str]:
    """The recipient as the response says it, if Meta would take the message."""
    state = call.state
    contact, kind = _contact(content), content.get("type", "text")
    if not isinstance(kind, str) or kind not in TYPES:
        raise invalid(f"Param type must be one of {{{', '.join(sorted(TYPES))}}}.")
    body = content.get(kind)
    if type(body) is not (list if kind == "contacts" else dict):
        raise RefusedError(graph_error(131008, details=f"The parameter {kind} is missing."))
    media_id = body.get("id") if kind in MEDIA_TYPES and isinstance(body, dict) else None
    if media_id is not None and state.find(str(media_id)) is None:
        raise RefusedError(graph_error(131009, details=f"{kind}.id is not the id of a media."))
    if kind == "interactive" and isinstance(body, dict):
        _check_flow(call, body)
    if kind == "template" and isinstance(body, dict):
        _check_buttons(body)
        _check_template(call, body)
    if kind == "template" and "user_id" in contact and isinstance(body, dict):
        needs_number = body.get("name") in state.settings.authentication_templates or "bid_spec" in body
        if needs_number:
            raise RefusedError(graph_error(131062, details="This template goes to phone numbers only."))
    return contact


def _check_flow(call: Call, body: Mapping[str, Any]) -> None:
    """Refuse a flow that Meta has blocked; one that nobody made is taken."""
    for name in ("action", "parameters"):
        body = body[name] if isinstance(body.get(name), Mapping) else {}
    found = call.state.flows.get(str(body.get("flow_id")))
    if found is not None and found.status == "BLOCKED":
        raise RefusedError(graph_error(132068))


def _check_buttons(body: Mapping[str, Any]) -> None:
    """Refuse a button that is named as when a template is made: there it is PHONE_NUMBER, say, and not sent at all."""
    components = body.get("components")
    for number, component in enumerate(components if isinstance(components, list) else ()):
        kind = component.get("sub_type") if isinstance(component, Mapping) else None
        if kind is not None and str(kind).lower() not in SUB_TYPES:
            raise invalid(
                f"Param template['components'][{number}]['sub_type'] must be one of {{{', '.join(SUB_TYPES)}}}."
            )


def _links(content: Any) -> Iterator[str]:
    """All links of a message, however deep."""
    if isinstance(content, Mapping):
        if isinstance(content.get("link"), str):
            yield content["link"]
        content = content.values()
    if not isinstance(content, str) and isinstance(content, Iterable):
        for inner in content:
            yield from _links(inner)


def _check_template(call: Call, body: Mapping[str, Any]) -> None:
    """Refuse a template that is not approved, or there in other languages only; one that nobody made is taken."""
    language = body.get("language")
    code = language.get("code") if isinstance(language, Mapping) else None
    reviewing = Reviewing(call.state, call.webhooks)
    named = [one for one in call.state.templates.values() if (one.waba_id, one.name) == (WABA_ID, body.get("name"))]
    for one in named:
        reviewing.look(one)
    statuses = {one.language: one.status for one in named}
    if named and code not in statuses:
        raise RefusedError(graph_error(132001, details="The template is not there in this language."))
    refusals = {"PAUSED": 132015, "DISABLED": 132016, "PENDING": 132001, "REJECTED": 132001}
    if (refusal := refusals.get(statuses.get(str(code), ""))) is not None:
        raise RefusedError(graph_error(refusal))


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
