"""What settings must be together: checks of one that look at those before it. Each names what to set."""

from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr, ValidationInfo

from whaul.database_url import is_postgresql
from whaul.environment import environment_name
from whaul.outbound.netguard import is_loopback
from whaul.secrets import HOW_TO_MAKE_A_KEY, Cipher

PARTNERS: Final[Mapping[str, str]] = {
    "root_secret_access_key": "root_access_key_id",
    "tls_key_file": "tls_cert_file",
    "oidc_client_id": "oidc_issuer",
    "oidc_access_keys": "oidc_issuer",
}
"""Settings that are nothing without another one, which stands before them."""


def both_or_neither(value: object, info: ValidationInfo) -> object:
    """Refuse one of two without the other."""
    other = PARTNERS[str(info.field_name)]
    if other in info.data and (not value) != (info.data[other] is None):
        raise ValueError(f"set it together with {environment_name(other)}, or neither")
    return value


def kms_key_needs_kms(value: str | None, info: ValidationInfo) -> str | None:
    """Refuse a key that would not be used."""
    if value is not None and info.data.get("s3_sse") != "aws:kms":
        raise ValueError("only with WHAUL_S3_SSE=aws:kms")
    return value


def open_only_on_loopback(value: str, info: ValidationInfo) -> str:
    """Refuse to let everybody in."""
    if value == "none" and not is_loopback(info.data.get("host", "")):
        raise ValueError("'none' is accepted on a loopback listener only; set WHAUL_HOST=127.0.0.1")
    return value


def needs_a_port(value: str | None, info: ValidationInfo) -> str | None:
    """Refuse the address of a listener that there is not."""
    if value is not None and "webhook_port" in info.data and info.data["webhook_port"] is None:
        raise ValueError("only with WHAUL_WEBHOOK_PORT")
    return value


def is_another_port(value: int | None, info: ValidationInfo) -> int | None:
    """Refuse two listeners at one port."""
    if value and value == info.data.get("port"):
        raise ValueError("the API listens on this port; leave it unset to take webhooks there, too")
    return value


def usable_key(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Refuse a key that encrypts nothing, and none where there has to be one."""
    if value is not None:
        Cipher(value)
    elif "database_url" in info.data and is_postgresql(info.data["database_url"].get_secret_value()):
        raise ValueError(
            "required with PostgreSQL, so that every machine has the same one and none is kept beside the data; "
            f"make one with: {HOW_TO_MAKE_A_KEY}"
        )
    return value
