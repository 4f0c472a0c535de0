"""The shapes of SendWhatsAppMessage."""

import re
from typing import Any

import msgspec

from whaul.errors import InvalidParametersException
from whaul.model import SendMessage
from whaul.wire.constraints import API_VERSION, MESSAGE, PHONE_NUMBER_ID, check
from whaul.wire.protocol import decoded, encoded

PRODUCT = "whatsapp"

_API_VERSION = re.compile(r"v[1-9][0-9]{0,2}\.[0-9]{1,2}")
_USER_ID = re.compile(r"\s*\+?[A-Z]{2}(\.[A-Z0-9]+)+\s*", re.ASCII | re.IGNORECASE)
"""A business-scoped user id, such as US.13491208655302741918 or US.ENT.11815799212886844830, also one that was edited.

https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""


class _SendMessage(msgspec.Struct, rename="camel"):
    origination_phone_number_id: str | None = None
    message: bytes | None = None
    meta_api_version: str | None = None


class _SendMessageAnswer(msgspec.Struct, rename="camel", omit_defaults=True):
    message_id: str | None = None


class _Message(msgspec.Struct):
    messaging_product: Any = None
    to: Any = None


_send_message_decoder = msgspec.json.Decoder(_SendMessage)
_message_decoder = msgspec.json.Decoder(_Message)


def send_message(body: bytes) -> SendMessage:
    """Read the input of SendWhatsAppMessage.

    Raises as `wire.get_media` does; `InvalidParametersException` for a message that is no JSON object for WhatsApp or
    that Meta would lose, or a version that is none of Meta's.
    """
    request = decoded(_send_message_decoder, body)
    check(
        [
            (PHONE_NUMBER_ID, "originationPhoneNumberId", request.origination_phone_number_id),
            (MESSAGE, "message", request.message),
            (API_VERSION, "metaApiVersion", request.meta_api_version),
        ]
    )
    version, message = request.meta_api_version or "", request.message or b""
    if not _API_VERSION.fullmatch(version):  # it becomes part of a URL
        raise InvalidParametersException("metaApiVersion must be a version of Meta's API, such as v25.0.")
    _check_message(message)
    return SendMessage(request.origination_phone_number_id or "", message, version)


def send_message_answer(message_id: str | None) -> bytes:
    """Write the output of SendWhatsAppMessage; without `messageId` when Meta gave none."""
    return encoded(_SendMessageAnswer(message_id))


def _check_message(message: bytes) -> None:
    """Look at the members that whaul answers for; the rest is between the caller and Meta."""
    try:
        found = _message_decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParametersException(
            "message must be a JSON object, a message object of Meta's API (with an SDK: its bytes, not base64)."
        ) from None
    if found.messaging_product != PRODUCT:
        raise InvalidParametersException(f'message must hold "messaging_product": "{PRODUCT}".')
    if isinstance(found.to, str) and _USER_ID.fullmatch(found.to):
        # Meta takes its digits for a phone number: it answers 200, and nobody gets the message.
        raise InvalidParametersException(
            "`to` of the message holds a business-scoped user id, to which Meta would deliver nothing: `to` takes a "
            'phone number, or a group\'s id. Put the id into `recipient`, with "recipient_type": "individual", and '
            "leave `to` out."
        )
