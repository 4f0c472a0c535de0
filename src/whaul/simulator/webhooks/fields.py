"""An example of each webhook that is no message: statuses, calls, and everything about numbers and accounts.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
https://developers.facebook.com/documentation/business-messaging/whatsapp/groups/webhooks
https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/user-initiated-calls
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from whaul.simulator.flows import Alert, alert
from whaul.simulator.webhooks.envelope import PRICING, UNDELIVERABLE
from whaul.simulator.webhooks.people import RECIPIENT, SENDER, contact, named
from whaul.simulator.webhooks.scene import Scene, new_id

Value = Callable[[Scene], dict[str, Any]]

TEMPLATE = {
    "message_template_id": 1689556908129832,
    "message_template_name": "order_confirmation",
    "message_template_language": "en-US",  # though the API says `en_US`
}
DECLINED = {
    "code": 2593109,
    "title": "History sync is turned off by the business from the WhatsApp Business App",
    "message": "History sync is turned off by the business from the WhatsApp Business App",
    "error_data": {"details": "History sharing is turned off by the business"},
}
FAILED = {
    "code": 130429,
    "title": "Rate limit hit",
    "message": "Rate limit hit",
    "error_data": {"details": "Message failed to send because there were too many messages."},
}
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


def _status(name: str) -> Value:
    def value(scene: Scene) -> dict[str, Any]:
        told = {"id": scene.message_id, "status": name, "timestamp": str(scene.now), **named(scene.ids, RECIPIENT)}
        if name == "failed":
            return scene.value(statuses=[{**told, "errors": [UNDELIVERABLE]}])
        return scene.with_contact(statuses=[{**told, "pricing": PRICING}])

    return value


def _group_statuses(scene: Scene) -> dict[str, Any]:
    """Several people of a group have read a message."""
    group = {"recipient_id": new_id(), "recipient_type": "group"}
    people = [
        {"recipient_participant_id": f"1555010020{place}", "recipient_participant_user_id": f"US.{place:020}"}
        for place in range(3)
    ]
    told = {"id": scene.message_id, "status": "read", "timestamp": str(scene.now), **group}
    return scene.value(statuses=[{**told, **one} for one in people])


def _text(scene: Scene) -> dict[str, Any]:
    return {"type": "text", "text": {"body": scene.text}}


def _history(*messages: Callable[[Scene], dict[str, Any]]) -> Value:
    def value(scene: Scene) -> dict[str, Any]:
        items = [scene.item(**message(scene), history_context={"status": "READ"}) for message in messages]
        thread = {"id": scene.ids.get("wa_id") or scene.ids["user_id"], "messages": items}
        chunk = {"metadata": {"phase": 0, "chunk_order": 1, "progress": 55}, "threads": [thread]}
        return scene.value(history=[chunk])

    return value


def _state_sync(scene: Scene) -> dict[str, Any]:
    person = {"full_name": "Ana Sample", "first_name": "Ana", "phone_number": scene.ids.get("wa_id", "15550100123")}
    told = {"type": "contact", "contact": person, "action": "add", "metadata": {"timestamp": str(scene.now)}}
    return scene.value(state_sync=[told])


def _call(event: str) -> Value:
    def value(scene: Scene) -> dict[str, Any]:
        call: dict[str, Any] = {"id": new_id("wacid."), "to": scene.business, **named(scene.ids, SENDER)}
        call["event"] = event
        call |= {"timestamp": str(scene.now), "direction": "USER_INITIATED"}
        if event == "connect":
            call["session"] = {"sdp_type": "offer", "sdp": SDP}
        else:
            times = {"start_time": str(scene.now - 60), "end_time": str(scene.now), "duration": 60}
            call |= {"status": "COMPLETED", **times}
        return scene.with_contact(calls=[call])

    return value


def _call_status(scene: Scene) -> dict[str, Any]:
    told = {"id": new_id("wacid."), "type": "call", "status": "RINGING", "timestamp": str(scene.now)}
    return scene.value(statuses=[{**told, **named(scene.ids, RECIPIENT)}])


def _group(kind: str, **members: Any) -> Value:
    return lambda scene: scene.value(
        groups=[{"timestamp": str(scene.now), "group_id": new_id(), "type": kind, "request_id": new_id(), **members}]
    )


def _preferences(scene: Scene) -> dict[str, Any]:
    told = {"detail": "User requested to stop marketing messages", "category": "marketing_messages", "value": "stop"}
    return scene.with_contact(user_preferences=[{**scene.ids, **told, "timestamp": scene.now}])


def _new_user_id(scene: Scene) -> dict[str, Any]:
    change = {"previous": scene.ids["user_id"], "current": "US.22222222222222222222"}
    told = {"detail": "User id has changed", "user_id": change, "timestamp": str(scene.now)}
    return scene.with_contact(user_id_update=[{**told, **{k: v for k, v in scene.ids.items() if k == "wa_id"}}])


def _username(scene: Scene) -> dict[str, Any]:
    return {"display_phone_number": scene.business, "username": "whaul.harbour", "status": "approved"}


def _handover(kind: str) -> Value:
    return lambda scene: scene.value(
        messaging_handovers=[{"type": kind, "timestamp": str(scene.now), **scene.ids, kind: {"metadata": scene.text}}]
    )


def _fixed(**members: Any) -> Value:
    return lambda _: dict(members)


def _number(**members: Any) -> Value:
    return lambda scene: {"display_phone_number": scene.business, **members}


def _standby(scene: Scene) -> dict[str, Any]:
    """A customer's message while Meta's agent holds the conversation."""
    message = scene.item(**_text(scene))
    return scene.value(standby={"contacts": [contact(scene.ids)], "messages": [message]})


VALUES: Mapping[str, tuple[str, Value]] = {
    **{f"status_{name}": ("messages", _status(name)) for name in ("sent", "delivered", "read", "played", "failed")},
    "status_group": ("messages", _group_statuses),
    "errors": ("messages", lambda scene: scene.value(errors=[FAILED])),
    "standby": ("standby", _standby),
    "standby_image": ("standby", lambda scene: scene.value(standby={"messages": [scene.item(**scene.media("image"))]})),
    "standby_echo": (
        "standby",
        lambda scene: scene.value(standby={"message_echoes": [scene.echo(**scene.media("image"))]}),
    ),
    "standby_status": ("standby", lambda scene: scene.value(standby={"statuses": _status("read")(scene)["statuses"]})),
    "control_passed": ("messaging_handovers", _handover("control_passed")),
    "control_taken": ("messaging_handovers", _handover("control_taken")),
    "echo": ("smb_message_echoes", lambda scene: scene.value(message_echoes=[scene.echo(**_text(scene))])),
    "echo_image": (
        "smb_message_echoes",
        lambda scene: scene.value(message_echoes=[scene.echo(**scene.media("image"))]),
    ),
    "history": ("history", _history(_text, lambda _: {"type": "media_placeholder"})),
    "history_image": ("history", _history(lambda scene: scene.media("image", in_hex=True))),
    "history_media": (
        "history",
        lambda scene: scene.with_contact(messages=[scene.item(**scene.media("image", in_hex=True))]),
    ),
    "history_declined": ("history", lambda scene: scene.value(history=[{"errors": [DECLINED]}])),
    "smb_app_state_sync": ("smb_app_state_sync", _state_sync),
    "call_connect": ("calls", _call("connect")),
    "call_terminate": ("calls", _call("terminate")),
    "call_status": ("calls", _call_status),
    "group_lifecycle_update": ("group_lifecycle_update", _group("group_create", subject="Regulars")),
    "group_participants_update": ("group_participants_update", _group("group_participants_add", reason="invite_link")),
    "group_settings_update": ("group_settings_update", _group("group_settings_update", group_subject={"text": "New"})),
    "group_status_update": ("group_status_update", _group("group_suspend")),
    "user_preferences": ("user_preferences", _preferences),
    "user_id_update": ("user_id_update", _new_user_id),
    "business_username_update": ("business_username_update", _username),
    "business_username_updates": ("business_username_updates", _username),
    "account_settings_update": (
        "account_settings_update",
        lambda scene: scene.value(
            timestamp=str(scene.now),
            type="phone_number_settings",
            phone_number_settings={"phone_number_id": scene.number.id, "calling": {"status": "ENABLED"}},
        ),
    ),
    "message_template_status_update": (
        "message_template_status_update",
        _fixed(event="APPROVED", **TEMPLATE, reason="NONE", message_template_category="UTILITY"),
    ),
    "message_template_rejected": (
        "message_template_status_update",
        _fixed(event="REJECTED", **TEMPLATE, reason="INVALID_FORMAT", message_template_category="UTILITY"),
    ),
    "message_template_quality_update": (
        "message_template_quality_update",
        _fixed(previous_quality_score="GREEN", new_quality_score="YELLOW", **TEMPLATE),
    ),
    "message_template_components_update": (
        "message_template_components_update",
        _fixed(**TEMPLATE, message_template_element="Your order {{1}} has left the harbour."),
    ),
    "template_category_update": (
        "template_category_update",
        _fixed(**TEMPLATE, previous_category="UTILITY", new_category="MARKETING"),
    ),
    "account_update": (
        "account_update",
        _fixed(event="ACCOUNT_VIOLATION", violation_info={"violation_type": "SCAM"}),
    ),
    "account_disabled": (
        "account_update",
        _fixed(event="DISABLED_UPDATE", ban_info={"waba_ban_state": "DISABLE", "waba_ban_date": "November 28, 2026"}),
    ),
    "account_alerts": (
        "account_alerts",
        _fixed(
            entity_type="BUSINESS",
            entity_id="506914307656634",
            alert_severity="INFORMATIONAL",
            alert_status="NONE",
            alert_type="OBA_APPROVED",
            alert_description="Official business account approved",
        ),
    ),
    "account_review_update": ("account_review_update", _fixed(decision="APPROVED")),
    "business_capability_update": (
        "business_capability_update",
        _fixed(max_daily_conversations_per_business="TIER_2K", max_phone_numbers_per_business=25),
    ),
    "phone_number_name_update": (
        "phone_number_name_update",
        _number(decision="APPROVED", requested_verified_name="Whaul Harbour", rejection_reason=None),
    ),
    "phone_number_quality_update": (
        "phone_number_quality_update",
        _number(event="UPGRADE", current_limit="TIER_10K", max_daily_conversations_per_business="TIER_10K"),
    ),
    "security": ("security", _number(event="PIN_CHANGED", requester="61555822107539")),
    "payment_configuration_update": (
        "payment_configuration_update",
        _fixed(
            configuration_name="main",
            provider_name="razorpay",
            provider_mid="acc_GP4lfNA0iIMn5B",
            status="Active",
            created_timestamp=1795000000,
            updated_timestamp=1795000000,
        ),
    ),
    "partner_solutions": (
        "partner_solutions",
        _fixed(event="SOLUTION_CREATED", solution_id="774485461512159", solution_status="INITIATED"),
    ),
    "automatic_events": (
        "automatic_events",
        lambda scene: scene.value(
            automatic_events=[{"id": scene.message_id, "event_name": "Purchase", "timestamp": scene.now}]
        ),
    ),
    "flows": (
        "flows",
        _fixed(
            event="FLOW_STATUS_CHANGE",
            message="The flow is published.",
            flow_id="6627390910605886",
            old_status="DRAFT",
            new_status="PUBLISHED",
        ),
    ),
    **{event.lower(): ("flows", _fixed(**alert(event, "6627390910605886"))) for event in get_args(Alert)},
}
"""The field and the value of each example, by its name."""
