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
_DESTINATION: Final = "event-destination"
_HEX: Final = re.compile(r"[0-9a-f]{32}")
_META_ID: Final = re.compile(r"(?:phone-number-id-|waba-|arn:[^/]{1,200}/)?([0-9]{5,24})")


def read_meta_id(value: str) -> str | None:
    """Read what looks like an id of Meta's, perhaps in the place of ours in an id or ARN; None for anything else."""
    found = _META_ID.fullmatch(value)
    return found[1] if found else None


class Arns:
    """Those of one AWS-style account number in one region.

    What a caller names something by is its id, or its ARN in this account and region; every other value is read as
    None, also Meta's own ids (`read_meta_id`) and ARNs of elsewhere.
    """

    def __init__(self, account_id: str, region: str) -> None:
        self.account_id = account_id
        self.region = region
        self.partition = partition_of(region).name
        """The second field of ARNs."""
        self._prefix = f"arn:{self.partition}:social-messaging:{region}:{account_id}:"

    def phone_number_id(self, meta_id: str) -> str:
        """Derive `phone-number-id-<32 hex>` from Meta's phone number id."""
        return self._derive(_PHONE_NUMBER, meta_id)

    def waba_id(self, meta_id: str) -> str:
        """Derive `waba-<32 hex>` from Meta's WhatsApp Business Account id."""
        return self._derive(_ACCOUNT, meta_id)

    def arn(self, resource_id: str) -> str:
        """Name what has this id, for policies and events: `arn:…:phone-number-id/<32 hex>`, `arn:…:waba/<32 hex>`."""
        kind, _, digits = resource_id.rpartition("-")
        return f"{self._prefix}{kind}/{digits}"

    def event_destination(self, name: str) -> str:
        """Name an event destination: `arn:…:event-destination/<name>`."""
        return f"{self._prefix}{_DESTINATION}/{name}"

    def read_event_destination(self, arn: str) -> str | None:
        """Read the name of an event destination from its ARN."""
        prefix = self.event_destination("")
        return arn.removeprefix(prefix) if arn.startswith(prefix) and arn != prefix else None

    def read_phone_number(self, value: str) -> str | None:
        """Read the id of a phone number from what a caller names it by."""
        return self._read(_PHONE_NUMBER, value)

    def read_waba(self, value: str) -> str | None:
        """Read the id of an account from what a caller names it by."""
        return self._read(_ACCOUNT, value)

    def read_resource(self, arn: str) -> str | None:
        """Read the id of an account or a phone number from its ARN; an id is none."""
        if not arn.startswith("arn:"):
            return None
        return self.read_waba(arn) or self.read_phone_number(arn)

    def _derive(self, kind: str, meta_id: str) -> str:
        # JSON keeps the parts apart whatever they hold. The kind is among them, so that an account and a phone number
        # that share Meta's id do not share their hex. Ids are stored and written into policies: never change this.
        text = json.dumps([kind, self.account_id, meta_id], separators=(",", ":"))
        return f"{kind}-{sha256(text.encode()).hexdigest()[:32]}"

    def _read(self, kind: str, value: str) -> str | None:
        for prefix in (f"{kind}-", f"{self._prefix}{kind}/"):
            if value.startswith(prefix) and _HEX.fullmatch(value, len(prefix)):
                return f"{kind}-{value[len(prefix) :]}"
        return None
