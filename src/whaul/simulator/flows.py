"""A flow: a form that a person fills in inside a chat.

https://developers.facebook.com/docs/whatsapp/flows/reference/flowsapi
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, NotRequired, TypedDict

import msgspec

from whaul.simulator.values import BadValueError

Alert = Literal[
    "CLIENT_ERROR_RATE",
    "ENDPOINT_ERROR_RATE",
    "ENDPOINT_LATENCY",
    "ENDPOINT_AVAILABILITY",
    "FLOW_VERSION_EXPIRY_WARNING",
]
AlertState = Literal["ACTIVATED", "DEACTIVATED"]
FlowStatus = Literal["DRAFT", "PUBLISHED", "DEPRECATED", "BLOCKED", "THROTTLED"]


class Preview(TypedDict):
    """A link to look at a flow, and until when."""

    preview_url: str
    expires_at: str
    """As Meta writes it: `2099-07-01T23:46:55+0000`."""


class Owner(TypedDict):
    """The account of a flow."""

    id: str
    name: NotRequired[str]
    currency: NotRequired[str]
    timezone_id: NotRequired[str]
    message_template_namespace: NotRequired[str]


class Flow(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A flow with the members that the Graph API shows; those that are None do not show."""

    id: str = ""
    """The simulator gives one if it is empty."""
    name: str
    status: FlowStatus = "DRAFT"
    categories: tuple[str, ...] = ("OTHER",)
    validation_errors: list[dict[str, Any]] = []
    json_version: str | None = None
    data_api_version: str | None = None
    endpoint_uri: str | None = None
    preview: Preview | None = None
    """A link for 30 days; another one when that is over."""
    whatsapp_business_account: Owner | None = None
    """The simulated account, unless another is given."""
    application: dict[str, str] | None = None
    flow_json: str | None = None
    """Its JSON; not shown."""
    health_status: dict[str, Any] = msgspec.field(default_factory=lambda: {"can_send_message": "AVAILABLE"})


def preview_end(preview: Preview) -> datetime:
    """When a preview ends; raises `BadValueError`."""
    try:
        end = datetime.fromisoformat(preview["expires_at"])
    except ValueError as exc:
        raise BadValueError("The preview's expires_at is no time such as 2099-07-01T23:46:55+0000.") from exc
    return end if end.tzinfo else end.replace(tzinfo=UTC)


_ERRORS: Final = {
    "error_rate": 14.28,
    "threshold": 10,
    "errors": [{"error_type": "TIMEOUT_ERROR", "error_rate": 100, "error_count": 2}],
}
_MEASURED: Final[Mapping[Alert, Mapping[str, Any]]] = {
    "CLIENT_ERROR_RATE": {"message": "Too many requests of the flow on phones fail.", **_ERRORS},
    "ENDPOINT_ERROR_RATE": {"message": "Too many requests to the flow's endpoint fail.", **_ERRORS},
    "ENDPOINT_LATENCY": {
        "message": "The flow's endpoint is slow.",
        "p90_latency": 8000,
        "p50_latency": 500,
        "requests_count": 34,
        "threshold": 7000,
    },
    "ENDPOINT_AVAILABILITY": {
        "message": "The flow's endpoint is often not available.",
        "availability": 75,
        "threshold": 90,
    },
}


def alert(event: Alert, flow_id: str, state: AlertState = "ACTIVATED") -> dict[str, Any]:
    """The value of the webhook by which Meta warns of a flow.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/flows/guides/flowswebhooks
    """
    if event == "FLOW_VERSION_EXPIRY_WARNING":
        return {"event": event, "warning": "The version of the flow's JSON will freeze in 21 days.", "flow_id": flow_id}
    return {"event": event, "flow_id": flow_id, "alert_state": state, **_MEASURED[event]}
