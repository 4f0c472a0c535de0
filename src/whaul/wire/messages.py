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


class _SendMessage(msgspec.Struct, rename="camel"):
    origination_phone_number_id: str | None = None
    message: bytes | None = None
    meta_api_version: str | None = None


class _SendMessageAnswer(msgspec.Struct, rename="camel", omit_defaults=True):
    message_id: str | None = None


class _Message(msgspec.Struct):
    messaging_product: Any = None


_send_message_decoder = msgspec.json.Decoder(_SendMessage)
_message_decoder = msgspec.json.Decoder(_Message)


def send_message(body: bytes) -> SendMessage:
    """Read the input of SendWhatsAppMessage.

    Raises as `wire.get_media` does; `InvalidParametersException` for a message that is no JSON object for WhatsApp,
    or a version that is none of Meta's.
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
    """Look at the one member that whaul answers for; the rest is between the caller and Meta."""
    try:
        product = _message_decoder.decode(message).messaging_product
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParametersException(
            "message must be a JSON object, a message object of Meta's API (with an SDK: its bytes, not base64)."
        ) from None
    if product != PRODUCT:
        raise InvalidParametersException(f'message must hold "messaging_product": "{PRODUCT}".')
