"""SendWhatsAppMessage: a message object goes to Meta as it came, and never twice.

https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import InvalidParametersException
from whaul.graph.client import not_documented
from whaul.graph.errors import CallKind
from whaul.operations.call import NumberCall, Row, on_number
from whaul.operations.repeats import once

PRODUCT = "whatsapp"
DOING = "sending the message"
SENDING: Final = CallKind(is_repeatable=False, names_object=False)

_API_VERSION = re.compile(r"v[1-9][0-9]{0,2}\.[0-9]{1,2}")
_USER_ID = re.compile(r"\s*\+?[A-Z]{2}(\.[A-Z0-9]+)+\s*", re.ASCII | re.IGNORECASE)
"""A business-scoped user id, such as US.13491208655302741918 or US.ENT.11815799212886844830, also one that was edited.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""


MAX_WITH_FLOW: Final = 1024 * 1024
"""Bytes of a message that can hold a flow's data.

Meta answers 200 to a larger one, and delivers nothing: https://github.com/WhatsApp/WhatsApp-Flows-Tools/issues/43
"""


class _Message(msgspec.Struct):
    messaging_product: Any = None
    to: Any = None
    type: Any = None


class _Id(msgspec.Struct):
    id: str


class _Sent(msgspec.Struct):
    messages: list[_Id] = []
    success: bool = False


_message_decoder = msgspec.json.Decoder(_Message)


async def send_message(call: NumberCall) -> Document:
    """Send the message, once for all attempts of an SDK; without `messageId` when Meta gave none."""
    message_id = await once(call, lambda: _attempt(call), DOING)
    return {"messageId": message_id} if message_id is not None else {}


def check_message(members: Members) -> None:
    """Look at what whaul answers for; the rest is between the caller and Meta. Raises `InvalidParametersException`."""
    check_version(members)
    try:
        message = _message_decoder.decode(members["message"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParametersException(
            "message must be a JSON object, a message object of Meta's API (with an SDK: its bytes, not base64)."
        ) from None
    if message.messaging_product != PRODUCT:
        raise InvalidParametersException(f'message must hold "messaging_product": "{PRODUCT}".')
    if len(members["message"]) > MAX_WITH_FLOW and message.type in ("interactive", "template"):
        raise InvalidParametersException(
            "message is larger than 1 MiB. Meta would take so much of a flow's data, and never deliver the message. "
            "Put less into it, and let the flow get the rest from its endpoint."
        )
    if isinstance(message.to, str) and _USER_ID.fullmatch(message.to):
        # Meta takes its digits for a phone number: it answers 200, and nobody gets the message.
        raise InvalidParametersException(
            "`to` of the message holds a business-scoped user id, to which Meta would deliver nothing: `to` takes a "
            'phone number, or a group\'s id. Put the id into `recipient`, with "recipient_type": "individual", and '
            "leave `to` out."
        )


def check_version(members: Members) -> None:
    """Raise `InvalidParametersException` for what is no version of Meta's API: it becomes part of a URL."""
    if not _API_VERSION.fullmatch(members["metaApiVersion"]):
        raise InvalidParametersException("metaApiVersion must be a version of Meta's API, such as v25.0.")


OPERATIONS: Final[Mapping[str, Row]] = {"SendWhatsAppMessage": on_number(send_message, check_message, guarded=False)}


async def _attempt(call: NumberCall) -> str | None:
    """Send once. An error is to be tried again only when Meta surely has not got the message, or refused it for now."""
    path, version = f"{call.target.meta_id}/messages", call.members["metaApiVersion"]
    sent = await call.components.graph.post(
        call.target.token, path, call.members["message"], _Sent, DOING, call=SENDING, version=version
    )
    if not sent.messages and not sent.success:
        raise not_documented(DOING, SENDING)
    return sent.messages[0].id if sent.messages else None
