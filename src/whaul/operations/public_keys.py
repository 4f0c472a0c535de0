"""The public key of a phone number, by which flows with an endpoint encrypt what a person fills in.

https://developers.facebook.com/docs/whatsapp/cloud-api/reference/whatsapp-business-encryption
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import InvalidParametersException
from whaul.graph.client import not_documented
from whaul.graph.errors import CallKind
from whaul.operations.call import NumberCall, Row, on_number
from whaul.operations.translation import document, meta_type

EDGE: Final = "whatsapp_business_encryption"
KEY_SIZE: Final = 2048
"""Bits."""
SETTING: Final = CallKind(names_object=False, is_callers=True)
KEY: Final = meta_type("GetWhatsAppBusinessPublicKeyOutput")


class _Success(msgspec.Struct):
    success: bool = False


async def put_key(call: NumberCall) -> Document:
    """PutWhatsAppBusinessPublicKey: the key replaces the one before."""
    doing = "setting the public key"
    body = {"business_public_key": call.members["businessPublicKey"]}
    if not (await call.graph.post(f"{call.target.meta_id}/{EDGE}", body, _Success, doing, call=SETTING)).success:
        raise not_documented(doing)
    return {}


async def get_key(call: NumberCall) -> Document:
    """GetWhatsAppBusinessPublicKey; empty without a key. Meta's answer is seen flat, and documented in a list."""
    doing = "reading the public key"
    found = await call.graph.get(f"{call.target.meta_id}/{EDGE}", dict[str, Any], doing)
    listed = found.get("data", [found])
    try:
        return document(msgspec.convert(listed[0], type=KEY)) if listed else {}
    except (msgspec.ValidationError, LookupError, TypeError):
        raise not_documented(doing) from None


def check_key(members: Members) -> None:
    """Raise `InvalidParametersException` for anything but one public RSA key of 2,048 bits."""
    pem = members.get("businessPublicKey")
    if members.get("kmsKeyArn") is not None:
        raise InvalidParametersException(
            "kmsKeyArn cannot be used here. Read the key with `aws kms get-public-key`, and give its PEM as "
            "businessPublicKey."
        )
    if pem is None:
        raise InvalidParametersException("Give businessPublicKey.")
    if "PRIVATE KEY" in pem:
        raise InvalidParametersException(
            "businessPublicKey holds a private key, which must stay with you. Give the public one: "
            "`openssl rsa -in private.pem -pubout`."
        )
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey) or key.key_size != KEY_SIZE:
        raise InvalidParametersException(f"businessPublicKey must be a public RSA key of {KEY_SIZE} bits, in PEM.")


OPERATIONS: Final[Mapping[str, Row]] = {
    "PutWhatsAppBusinessPublicKey": on_number(put_key, check_key),
    "GetWhatsAppBusinessPublicKey": on_number(get_key),
}
