"""Signatures of webhooks: Meta's, and those of Standard Webhooks. Pure; compares in constant time.

To prepare a key takes as long as to sign an event with it. So keys are kept, and only ever copied.

https://developers.facebook.com/docs/graph-api/webhooks/getting-started
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
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


def meta_key(secret: SecretStr) -> hmac.HMAC:
    """Prepare an app secret."""
    return hmac.new(secret.get_secret_value().encode(), digestmod="sha256")


def meta_matches(digest: bytes, key: hmac.HMAC, body: bytes) -> bool:
    """Whether the app with this secret signed the body's very bytes."""
    return hmac.compare_digest(digest, _digest(key, body))


def meta_signature(key: hmac.HMAC, body: bytes) -> str:
    """Sign a body as Meta does: the value of `X-Hub-Signature-256`."""
    return f"sha256={_digest(key, body).hex()}"


def new_secret() -> SecretStr:
    """Make a Standard Webhooks secret."""
    return SecretStr(_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode())


def check_secret(secret: SecretStr) -> None:
    """Raise ValueError for what is no Standard Webhooks secret; its text does not hold the secret."""
    _secret_bytes(secret)


def standard_key(secret: SecretStr) -> hmac.HMAC:
    """Prepare a Standard Webhooks secret. Raises ValueError as `check_secret` does."""
    return hmac.new(_secret_bytes(secret), digestmod="sha256")


def standard_headers(keys: Sequence[hmac.HMAC], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Sign an event with each of the keys; `timestamp` is that of the attempt, Unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(_digest(key, signed)).decode()}" for key in keys),
    }


def _digest(key: hmac.HMAC, message: bytes) -> bytes:
    mac = key.copy()
    mac.update(message)
    return mac.digest()


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
