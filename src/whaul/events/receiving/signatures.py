"""Signatures of webhooks: Meta's, and those of Standard Webhooks. Pure; compares in constant time.

https://developers.facebook.com/docs/graph-api/webhooks/getting-started
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from typing import Final

from pydantic import SecretStr

META_HEADER: Final = "X-Hub-Signature-256"
_META: Final = re.compile(rb"sha256=([0-9a-f]{64})")
_PREFIX: Final = "whsec_"
SECRET_SIZES: Final = range(24, 65)
"""Bytes that a Standard Webhooks secret may have."""


def meta_digest(header: bytes | None) -> bytes | None:
    """Read the digest of Meta's header; None for one that is missing or malformed."""
    found = _META.fullmatch(header or b"")
    return None if found is None else bytes.fromhex(found[1].decode())


def meta_matches(digest: bytes, secret: SecretStr, body: bytes) -> bool:
    """Whether the app with this secret signed the body's very bytes."""
    return hmac.compare_digest(digest, hmac.digest(secret.get_secret_value().encode(), body, "sha256"))


def meta_signature(secret: SecretStr, body: bytes) -> str:
    """Sign a body as Meta does: the value of `X-Hub-Signature-256`."""
    return f"sha256={hmac.digest(secret.get_secret_value().encode(), body, 'sha256').hex()}"


def new_secret() -> SecretStr:
    """Make a Standard Webhooks secret."""
    return SecretStr(_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode())


def check_secret(secret: SecretStr) -> None:
    """Raise ValueError for what is no Standard Webhooks secret; its text does not hold the secret."""
    _secret_bytes(secret)


def standard_headers(keys: Sequence[SecretStr], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Sign an event with each of the secrets; `timestamp` is that of the attempt, Unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(_secret_bytes(key), signed, hashlib.sha256) for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def _secret_bytes(secret: SecretStr) -> bytes:
    text = secret.get_secret_value().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the secret is not `whsec_` with base64 behind it") from None
    if len(key) not in SECRET_SIZES:
        sizes = f"{SECRET_SIZES.start} to {SECRET_SIZES.stop - 1}"
        raise ValueError(f"the secret has {len(key)} bytes; Standard Webhooks wants {sizes}")
    return key
