"""The calls of the Graph API on flows: their life from draft to deprecated, their JSON, and what Meta refuses.

https://developers.facebook.com/docs/whatsapp/flows/reference/flowsapi
https://developers.facebook.com/docs/whatsapp/flows/reference/error-codes
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from aiohttp import web
from aiohttp.web_request import FileField
from msgspec import UNSET, Meta, Struct, UnsetType

from whaul.simulator.accounts import ACCOUNT
from whaul.simulator.calls import Call
from whaul.simulator.faults import Fault
from whaul.simulator.flow_json import validation_errors, version_of
from whaul.simulator.flows import Flow
from whaul.simulator.handler import Handler
from whaul.simulator.responses import RefusedError, Response, graph_error, invalid, text
from whaul.simulator.state import State

FLOW_DEFAULTS: Final = ("id", "name", "status", "categories", "validation_errors")
PUBLISHED_VERSIONS: Final = frozenset({"5.1", "6.0", "6.1", "6.2", "6.3", "7.0", "7.1", "7.2", "7.3"})
"""Of flow JSON that can be published: https://docs.aws.amazon.com/social-messaging/latest/userguide/managing-flows-publish.html"""
ASSET_PATH: Final = "/flow_assets/"
ASSET_LIFETIME: Final = 600
"""Seconds that a link to a flow's JSON is good for."""
_PREVIEW: Final = re.compile(r"preview\.invalidate\((true|false)\)")

Category = Literal[
    "SIGN_UP",
    "SIGN_IN",
    "APPOINTMENT_BOOKING",
    "LEAD_GENERATION",
    "SHOPPING",
    "CONTACT_US",
    "CUSTOMER_SUPPORT",
    "SURVEY",
    "OTHER",
]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Categories = Annotated[tuple[Category, ...], Meta(min_length=1)]
Endpoint = Annotated[str, Meta(pattern=r"^https://[!-~]+\Z")]


class _New(Struct):
    name: Name
    categories: Categories
    flow_json: str | None = None
    clone_flow_id: str | None = None
    endpoint_uri: Endpoint | None = None
    publish: bool = False


class _Changes(Struct):
    name: Name | UnsetType = UNSET
    categories: Categories | UnsetType = UNSET
    endpoint_uri: Endpoint | UnsetType = UNSET
    application_id: str | UnsetType = UNSET


def flow(state: State, object_id: str) -> Flow | None:
    """Find a flow."""
    return state.flows.get(object_id)


def owner_of(found: Flow) -> str:
    """The id of a flow's account."""
    return str((found.whatsapp_business_account or ACCOUNT)["id"])


def flow_members(found: Flow) -> dict[str, Any]:
    """The members that the Graph API shows."""
    names = ("id", "name", "currency", "timezone_id", "message_template_namespace")
    owner = found.whatsapp_business_account or {name: ACCOUNT[name] for name in names}
    members = msgspec.structs.asdict(found) | {"whatsapp_business_account": owner}
    del members["flow_json"]
    return members


async def read_flow(call: Call) -> Any:
    """`GET /{flow-id}`; `preview.invalidate(true)` among the fields makes a new link, which ends the one before."""
    found: Flow = call.object
    asked = call.request.query.get("fields", "")
    renewing = _PREVIEW.search(asked)
    if "preview" in asked:
        call.state.renew_preview(found, anew=renewing is not None and renewing[1] == "true")
    return call.select(flow_members(found), FLOW_DEFAULTS, _PREVIEW.sub("preview", asked))


async def list_flows(call: Call) -> Any:
    """`GET /{waba-id}/flows`."""
    flows = [one for one in call.state.flows.values() if owner_of(one) == call.object["id"]]
    return call.page(flows, lambda one: call.select(flow_members(one), FLOW_DEFAULTS))


async def create_flow(call: Call) -> Any:
    """`POST /{waba-id}/flows`, in JSON or as a form."""
    new = _checked(await call.parameters(), _New)
    owner = call.object["id"]
    _check_name(call.state, owner, new.name)
    if new.clone_flow_id is not None:
        source = call.state.flows.get(new.clone_flow_id)
        if source is None or owner_of(source) != owner or new.flow_json is not None:
            raise invalid("Param clone_flow_id must be a flow of this account, and comes without flow_json.")
        new.flow_json = source.flow_json
    made = Flow(name=new.name, categories=new.categories, endpoint_uri=new.endpoint_uri)
    if call.object is not ACCOUNT:
        made.whatsapp_business_account = {"id": owner, "name": call.object["name"]}
    call.state.add_flow(made)
    if new.flow_json is not None:
        _take_json(made, new.flow_json)
    if new.publish and not _unpublishable(call.state, made):
        _change(call, made, "PUBLISHED", "The flow is published.")
    return {"id": made.id, "success": True, "validation_errors": made.validation_errors}


async def update_flow(call: Call) -> Any:
    """`POST /{flow-id}`: its name, categories, endpoint and app."""
    found: Flow = call.object
    changes = _checked(await call.parameters(), _Changes)
    if found.status not in {"DRAFT", "PUBLISHED"}:
        raise RefusedError(graph_error(139001))
    if changes.name is not UNSET and changes.name != found.name:
        _check_name(call.state, owner_of(found), changes.name)
        found.name = changes.name
    if changes.categories is not UNSET:
        found.categories = changes.categories
    if changes.endpoint_uri is not UNSET:
        found.endpoint_uri = changes.endpoint_uri
    if changes.application_id is not UNSET:
        app = next((app for app in call.state.apps if app.id == changes.application_id), None)
        if app is None:
            raise invalid("Param application_id must be an app of this business.")
        link = f"https://developers.facebook.com/apps/{app.id}"
        found.application = {"id": app.id, "name": app.name, "link": link}
    return {"success": True}


async def update_assets(call: Call) -> Any:
    """`POST /{flow-id}/assets`: the JSON anew. A published flow is a draft afterwards, to be published again."""
    found: Flow = call.object
    form = await call.request.post()
    file = form.get("file")
    if form.get("name") != "flow.json" or form.get("asset_type") != "FLOW_JSON" or not isinstance(file, FileField):
        raise invalid("An asset has `name` flow.json, `asset_type` FLOW_JSON, and a `file`.")
    if found.status not in {"DRAFT", "PUBLISHED"}:
        raise RefusedError(graph_error(139001))
    try:
        _take_json(found, file.file.read().decode())
    except UnicodeDecodeError:
        raise RefusedError(graph_error(139001)) from None
    if found.status == "PUBLISHED":
        _change(call, found, "DRAFT", "The flow's JSON was changed.")
    return {"success": True, "validation_errors": found.validation_errors}


async def list_assets(call: Call) -> Any:
    """`GET /{flow-id}/assets`: the JSON, by a link that needs no token and ends soon."""
    found: Flow = call.object
    origin = str(call.request.url.origin())
    expiry = str(int(call.state.now()) + ASSET_LIFETIME)
    url = f"{origin}{ASSET_PATH}{found.id}?ext={expiry}&hash={_signature(call.state, found.id, expiry)}"
    asset = {"name": "flow.json", "asset_type": "FLOW_JSON", "download_url": url}
    return call.page([found] if found.flow_json is not None else [], lambda _: asset)


async def publish_flow(call: Call) -> Any:
    """`POST /{flow-id}/publish`: a draft without errors and, for a flow with data, all that its endpoint needs."""
    found: Flow = call.object
    if found.status != "DRAFT" or (reason := _unpublishable(call.state, found)):
        reason = reason if found.status == "DRAFT" else "The flow is no draft."
        raise RefusedError(graph_error(139002, details=reason))
    _change(call, found, "PUBLISHED", "The flow is published.")
    return {"success": True}


async def deprecate_flow(call: Call) -> Any:
    """`POST /{flow-id}/deprecate`."""
    if call.object.status != "PUBLISHED":
        raise RefusedError(graph_error(139003))
    _change(call, call.object, "DEPRECATED", "The flow is deprecated.")
    return {"success": True}


async def delete_flow(call: Call) -> Any:
    """`DELETE /{flow-id}`."""
    if call.object.status != "DRAFT":
        raise RefusedError(graph_error(139004))
    del call.state.flows[call.object.id]
    return {"success": True}


def status_change(found: Flow, old: str, message: str) -> dict[str, Any]:
    """The value of the webhook that a flow's status has changed."""
    return {
        "event": "FLOW_STATUS_CHANGE",
        "message": message,
        "flow_id": found.id,
        "old_status": old,
        "new_status": found.status,
    }


def asset_routes(handler: Handler) -> list[web.RouteDef]:
    """Where the links to flows' JSON lead."""

    async def download(request: web.Request) -> web.StreamResponse:
        flow_id, state = request.match_info["id"], handler.state

        async def respond(_: Fault | None) -> Response:
            found, expiry = state.flows.get(flow_id), request.query.get("ext", "")
            signature = request.query.get("hash", "").encode(errors="replace")
            is_ours = hmac.compare_digest(signature, _signature(state, flow_id, expiry).encode())
            if found is None or found.flow_json is None or not is_ours or state.now() >= int(expiry):
                raise RefusedError(text("URL signature expired", status=403))
            return text(found.flow_json, content_type="application/json; charset=utf-8")

        return await handler.handle(request, hop=None, object_id=flow_id, admit=lambda *_: None, respond=respond)

    return [web.get(ASSET_PATH + "{id}", download, allow_head=False)]


def _check_name(state: State, owner: str, name: str) -> None:
    if any(one.name == name and owner_of(one) == owner for one in state.flows.values()):
        raise invalid("Param name must be unique in the account.")


def _take_json(found: Flow, content: str) -> None:
    found.flow_json, found.validation_errors = content, validation_errors(content)
    if not found.validation_errors:
        found.json_version, found.data_api_version = version_of(content)


def _unpublishable(state: State, found: Flow) -> str | None:
    """Why a draft cannot be published; None if it can."""
    if found.flow_json is None or found.validation_errors:
        return "The flow has no JSON, or one with validation errors."
    if found.json_version not in PUBLISHED_VERSIONS:
        return "The version of the flow JSON is not supported."
    if found.data_api_version is None:
        return None
    if found.endpoint_uri is None or found.application is None:
        return "A flow with data needs an endpoint and an app."
    if not any(key.status == "VALID" for key in state.public_keys.values()):
        return "A flow with data needs the public key of a phone number."
    return None


def _change(call: Call, found: Flow, status: str, message: str) -> None:
    old, found.status = found.status, status  # type: ignore[assignment]
    value = status_change(found, old, message)
    call.afterwards.append(lambda: call.webhooks.emit(owner_of(found), "flows", value))


def _signature(state: State, flow_id: str, expiry: str) -> str:
    return hmac.new(state.url_key, f"flow\n{flow_id}\n{expiry}".encode(), hashlib.sha256).hexdigest()[:32]


def _checked(members: Mapping[str, Any], shape: type[Any]) -> Any:
    """Read members; a form has its lists and booleans as JSON."""
    found = dict(members)
    for name in ("categories", "publish"):
        if isinstance(found.get(name), str):
            try:
                found[name] = json.loads(found[name])
            except ValueError:
                raise invalid(f"Param {name} is not JSON.") from None
    try:
        return msgspec.convert(found, type=shape)
    except msgspec.ValidationError as error:
        raise invalid("Invalid parameter", str(error)) from error
