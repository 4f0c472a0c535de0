"""The WhatsApp Business Accounts that the token reaches: the simulated one, and another one without numbers.

The other is for programs that are to tell them apart: what belongs to it is not the first one's.
"""

from collections.abc import Mapping
from typing import Any, Final

from whaul.simulator.state import OTHER_WABA_ID, WABA_ID, State

ACCOUNT: Final[Mapping[str, Any]] = {
    "id": WABA_ID,
    "name": "Whaul Harbour (simulated)",
    "timezone_id": "1",
    "message_template_namespace": "00000000_0000_4000_8000_000000000001",
    "currency": "USD",
    "country": "US",
    "account_review_status": "APPROVED",
    "business_verification_status": "verified",
    "status": "ACTIVE",
}
OTHER: Final[Mapping[str, Any]] = {
    **ACCOUNT,
    "id": OTHER_WABA_ID,
    "name": "Whaul Annex (simulated)",
    "message_template_namespace": "00000000_0000_4000_8000_000000000002",
}
ACCOUNT_DEFAULTS: Final = ("id", "name", "timezone_id", "message_template_namespace")


def account(_: State, object_id: str) -> Mapping[str, Any] | None:
    """Find the simulated account."""
    return ACCOUNT if object_id == WABA_ID else None


def any_account(_: State, object_id: str) -> Mapping[str, Any] | None:
    """Find either account."""
    return next((one for one in (ACCOUNT, OTHER) if one["id"] == object_id), None)
