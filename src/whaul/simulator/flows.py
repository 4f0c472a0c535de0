"""A flow: a form that a person fills in inside a chat.

https://developers.facebook.com/docs/whatsapp/flows/reference/flowsapi
"""

from typing import Any, Literal

import msgspec

FlowStatus = Literal["DRAFT", "PUBLISHED", "DEPRECATED", "BLOCKED", "THROTTLED"]


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
    preview: dict[str, str] | None = None
    """A link for 30 days; another one when that is over."""
    whatsapp_business_account: dict[str, str] | None = None
    """The simulated account, unless another is given."""
    application: dict[str, str] | None = None
    flow_json: str | None = None
    """Its JSON; not shown."""
    health_status: dict[str, Any] = msgspec.field(default_factory=lambda: {"can_send_message": "AVAILABLE"})
