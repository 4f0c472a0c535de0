"""The objects of the Graph API and the calls that they take, as a table. A new call is a row in `ROWS`.

A regular object needs a function that finds it by id, one that lists its members, and the names of its default ones:
then `_read` answers a GET of it, and `Call.page` a GET of an edge with many.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whaul.simulator.access import app_of, debug_token
from whaul.simulator.accounts import ACCOUNT_DEFAULTS, account, any_account
from whaul.simulator.calling import act, read_permission
from whaul.simulator.calls import Call
from whaul.simulator.datasets import create_dataset, dataset, read_dataset, receive_events
from whaul.simulator.download_urls import signed_url
from whaul.simulator.faults import Hop
from whaul.simulator.flow_calls import (
    create_flow,
    delete_flow,
    deprecate_flow,
    flow,
    list_assets,
    list_flows,
    publish_flow,
    read_flow,
    update_assets,
    update_flow,
)
from whaul.simulator.messages import send
from whaul.simulator.model import PhoneNumber
from whaul.simulator.phone_numbers import change_settings, register, show_settings
from whaul.simulator.public_keys import get_key, put_key
from whaul.simulator.responses import RefusedError, graph_error
from whaul.simulator.resumable import open_session, receive_bytes, session, show_session
from whaul.simulator.state import State
from whaul.simulator.subscribing import (
    app_by_id,
    app_members,
    configure_number,
    list_subscribed_apps,
    list_subscriptions,
    subscribe_app,
    subscribe_to_fields,
    unsubscribe_app,
    unsubscribe_from_fields,
    webhook_configuration,
)
from whaul.simulator.template_calls import (
    create_template,
    delete_template,
    list_templates,
    read_template,
    template,
    update_template,
)
from whaul.simulator.template_library import library, list_library
from whaul.simulator.uploads import receive

Respond = Callable[[Call], Awaitable[Any]]
"""What answers a call: it returns the JSON, or raises `RefusedError`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call of the Graph API."""

    method: str
    find: Callable[[State, str], Any]
    """The object that an id stands for; None if there is none of this kind."""
    edge: str
    """What follows the id in the path; empty for the object itself."""
    hop: Hop
    """Where faults meet the call. Rows of one method and edge have the same."""
    respond: Respond


APP_DEFAULTS = ("id", "name", "link", "category")
PHONE_NUMBER_DEFAULTS = (
    "verified_name",
    "code_verification_status",
    "display_phone_number",
    "quality_rating",
    "platform_type",
    "throughput",
    "id",
)


def _token(_: State, object_id: str) -> str | None:
    return object_id if object_id == "debug_token" else None


def _phone_number(state: State, object_id: str) -> PhoneNumber | None:
    return state.phone_numbers.get(object_id)


def _phone_number_members(number: PhoneNumber) -> dict[str, Any]:
    return {
        "verified_name": number.verified_name,
        "code_verification_status": "VERIFIED",
        "display_phone_number": number.display_phone_number,
        "quality_rating": number.quality_rating,
        "platform_type": "CLOUD_API",
        "throughput": {"level": "STANDARD"},
        "id": number.id,
        "name_status": "APPROVED",
        "status": number.status,
        "account_mode": "LIVE",
        "messaging_limit_tier": "TIER_1K",
        "is_official_business_account": False,
    }


def _read(members: Callable[[Any], Mapping[str, Any]], defaults: Sequence[str]) -> Respond:
    """Answer with the members of an object, as `fields` names them."""

    async def respond(call: Call) -> Any:
        return call.select(members(call.object), defaults)

    return respond


async def _list_phone_numbers(call: Call) -> Any:
    numbers = [*call.state.phone_numbers.values()]
    return call.page(numbers, lambda number: call.select(_phone_number_members(number), PHONE_NUMBER_DEFAULTS))


async def _read_phone_number(call: Call) -> Any:
    members = _phone_number_members(call.object)
    members["webhook_configuration"] = webhook_configuration(app_of(call), call.object.id)
    return call.select(members, PHONE_NUMBER_DEFAULTS)


async def _read_media(call: Call) -> Any:
    _check_number(call)
    media, settings = call.object, call.state.settings
    digest = await asyncio.to_thread(media.sha256)
    as_text = (media.options.file_size or settings.file_size) == "string"
    in_hex = (media.options.sha256 or settings.sha256) == "hex"
    members = {
        "messaging_product": "whatsapp",
        "url": signed_url(call.state, media, str(call.request.url.origin())),
        "mime_type": media.mime_type,
        "sha256": digest.hex() if in_hex else base64.b64encode(digest).decode(),
        "file_size": str(media.size) if as_text else media.size,
        "id": media.id,
    }
    return call.select(members, tuple(members))


async def _delete_media(call: Call) -> Any:
    _check_number(call)
    call.state.remove(call.object.id)
    return {"success": True}


def _check_number(call: Call) -> None:
    """`phone_number_id` is for uploads on that number; with a media from a customer it is a trap.

    https://github.com/chatwoot/chatwoot/pull/13319
    """
    number, media = call.request.query.get("phone_number_id"), call.object
    if number is not None and not (media.origin == "upload" and media.phone_number_id == number):
        raise RefusedError(
            graph_error(100, "Param phone_number_id is not a valid whatsapp business phone number id ID")
        )


ROWS = (
    Row("GET", _token, "", "metadata", debug_token),
    Row("GET", any_account, "", "metadata", _read(dict, ACCOUNT_DEFAULTS)),
    Row("GET", _phone_number, "", "metadata", _read_phone_number),
    Row("GET", flow, "", "metadata", read_flow),
    Row("POST", flow, "", "settings", update_flow),
    Row("DELETE", flow, "", "delete", delete_flow),
    Row("GET", library, "", "metadata", list_library),
    Row("GET", any_account, "message_templates", "metadata", list_templates),
    Row("POST", any_account, "message_templates", "settings", create_template),
    Row("DELETE", any_account, "message_templates", "delete", delete_template),
    Row("GET", template, "", "metadata", read_template),
    Row("POST", template, "", "settings", update_template),
    Row("POST", app_by_id, "uploads", "settings", open_session),
    Row("GET", session, "", "metadata", show_session),
    Row("POST", session, "", "settings", receive_bytes),
    Row("GET", any_account, "dataset", "metadata", read_dataset),
    Row("POST", any_account, "dataset", "settings", create_dataset),
    Row("POST", dataset, "events", "send", receive_events),
    Row("GET", _phone_number, "call_permissions", "metadata", read_permission),
    Row("POST", _phone_number, "calls", "send", act),
    Row("GET", _phone_number, "whatsapp_business_encryption", "metadata", get_key),
    Row("POST", _phone_number, "whatsapp_business_encryption", "settings", put_key),
    Row("GET", any_account, "flows", "metadata", list_flows),
    Row("POST", any_account, "flows", "settings", create_flow),
    Row("GET", flow, "assets", "metadata", list_assets),
    Row("POST", flow, "assets", "settings", update_assets),
    Row("POST", flow, "publish", "settings", publish_flow),
    Row("POST", flow, "deprecate", "settings", deprecate_flow),
    Row("GET", State.find, "", "metadata", _read_media),
    Row("DELETE", State.find, "", "delete", _delete_media),
    Row("GET", app_by_id, "", "metadata", _read(app_members, APP_DEFAULTS)),
    Row("POST", account, "subscribed_apps", "register", subscribe_app),
    Row("GET", account, "subscribed_apps", "metadata", list_subscribed_apps),
    Row("DELETE", account, "subscribed_apps", "register", unsubscribe_app),
    Row("POST", app_by_id, "subscriptions", "register", subscribe_to_fields),
    Row("GET", app_by_id, "subscriptions", "metadata", list_subscriptions),
    Row("DELETE", app_by_id, "subscriptions", "register", unsubscribe_from_fields),
    Row("POST", _phone_number, "", "settings", configure_number),
    Row("GET", account, "phone_numbers", "metadata", _list_phone_numbers),
    Row("POST", _phone_number, "register", "register", register),
    Row("POST", _phone_number, "media", "upload", receive),
    Row("POST", _phone_number, "messages", "send", send),
    Row("GET", _phone_number, "settings", "metadata", show_settings),
    Row("POST", _phone_number, "settings", "settings", change_settings),
)
