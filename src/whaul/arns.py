"""Ids and ARNs of linked accounts and phone numbers: how they are derived, and how they are read.

Pure text: knows nothing of what is linked.
"""

import json
import re
from hashlib import sha256
from typing import Final

from whaul.partitions import partition_of

_PHONE_NUMBER: Final = "phone-number-id"
_ACCOUNT: Final = "waba"
_HEX: Final = re.compile(r"[0-9a-f]{32}")


def phone_number_id(account_id: str, meta_id: str) -> str:
    """Derive `phone-number-id-<32 hex>` from the AWS-style account number and Meta's phone number id."""
    return _derive(_PHONE_NUMBER, account_id, meta_id)


def waba_id(account_id: str, meta_id: str) -> str:
    """Derive `waba-<32 hex>` from the AWS-style account number and Meta's WhatsApp Business Account id."""
    return _derive(_ACCOUNT, account_id, meta_id)


def phone_number_arn(phone_number_id: str, account_id: str, region: str) -> str:
    """Name a phone number, given its id, for policies and events: `arn:…:phone-number-id/<32 hex>`."""
    return _arn_prefix(_PHONE_NUMBER, account_id, region) + phone_number_id.removeprefix(f"{_PHONE_NUMBER}-")


def waba_arn(waba_id: str, account_id: str, region: str) -> str:
    """Name a linked account, given its id, for policies and events: `arn:…:waba/<32 hex>`."""
    return _arn_prefix(_ACCOUNT, account_id, region) + waba_id.removeprefix(f"{_ACCOUNT}-")


def phone_number_id_from(value: str, account_id: str, region: str) -> str | None:
    """Read what a caller may name a phone number by: its id, or its ARN in this account and region.

    None for everything else, ids of another form and ARNs of elsewhere included.
    """
    return _read(_PHONE_NUMBER, value, account_id, region)


def waba_id_from(value: str, account_id: str, region: str) -> str | None:
    """Read what a caller may name a linked account by: its id, or its ARN in this account and region.

    None for everything else, Meta's own id included.
    """
    return _read(_ACCOUNT, value, account_id, region)


def resource_id_from(arn: str, account_id: str, region: str) -> str | None:
    """Read the ARN of a linked account or a phone number in this account and region; None for everything else."""
    if not arn.startswith("arn:"):
        return None
    return waba_id_from(arn, account_id, region) or phone_number_id_from(arn, account_id, region)


def resource_arn(resource_id: str, account_id: str, region: str) -> str:
    """Name a linked account or a phone number, given its id."""
    name = waba_arn if resource_id.startswith(f"{_ACCOUNT}-") else phone_number_arn
    return name(resource_id, account_id, region)


def partition(region: str) -> str:
    """Name the AWS partition that a region belongs to, the second field of its ARNs."""
    return partition_of(region).name


def _derive(kind: str, account_id: str, meta_id: str) -> str:
    # JSON keeps the parts apart whatever they hold. The kind is among them, so that an account and a phone number
    # that share Meta's id do not share their hex. Ids are stored and written into policies: never change this.
    text = json.dumps([kind, account_id, meta_id], separators=(",", ":"))
    return f"{kind}-{sha256(text.encode()).hexdigest()[:32]}"


def _arn_prefix(kind: str, account_id: str, region: str) -> str:
    return f"arn:{partition(region)}:social-messaging:{region}:{account_id}:{kind}/"


def _read(kind: str, value: str, account_id: str, region: str) -> str | None:
    for prefix in (f"{kind}-", _arn_prefix(kind, account_id, region)):
        if value.startswith(prefix) and _HEX.fullmatch(value.removeprefix(prefix)):
            return f"{kind}-{value.removeprefix(prefix)}"
    return None
