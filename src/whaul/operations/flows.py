"""The operations on flows: forms that a person fills in inside a chat. Meta keeps them; whaul stores nothing of them.

https://developers.facebook.com/docs/whatsapp/flows/reference/flowsapi
"""

import secrets
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import msgspec
from pyreqwest.bytes import Bytes

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import InvalidParametersException
from whaul.graph.client import not_documented
from whaul.graph.errors import READING, CallKind
from whaul.operations.call import AccountCall, Row, on_account
from whaul.operations.listing import listed
from whaul.operations.owned import not_owned
from whaul.operations.repeats import gone, moved, once
from whaul.operations.translation import document, fields, meta_type, renamed

CREATING: Final = CallKind(is_repeatable=False, names_object=False, is_callers=True)
PUBLISHING: Final = CallKind(
    not_passing=frozenset({131000}),  # seen when an endpoint does not answer well, or a public key is missing
)
SETTING: Final = CallKind(names_object=False, is_callers=True)

_CHANGES: Final = ("flowName", "categories", "endpointUri", "metaAppId")
_NAMES: Final = {"flowId": "id", "flowName": "name", "flowStatus": "status"}
_TYPES: Final = {"MetaFlowValidationError": msgspec.Raw}  # an object at Meta, a string at AWS
FLOW: Final = meta_type(
    "GetWhatsAppFlowOutput",
    names=_NAMES | {"whatsAppBusinessAccount": "whatsapp_business_account"},
    types=_TYPES,
    defaults={"WhatsAppBusinessAccountName": ""},
)
SUMMARY: Final = meta_type(
    "MetaFlowSummary",
    names=_NAMES | {"flowCategories": "categories"},
    types=_TYPES,
    defaults={"MetaFlowCategoryList": [], "ValidationErrorList": []},
)
PREVIEW: Final = meta_type("GetWhatsAppFlowPreviewOutput", names=_NAMES)
ASSET: Final = meta_type("MetaFlowAsset")
CREATED: Final = meta_type("CreateWhatsAppFlowOutput", names=_NAMES, types=_TYPES)


class _Owner(msgspec.Struct):
    id: str


class _Owned(msgspec.Struct):
    whatsapp_business_account: _Owner


class _Status(msgspec.Struct):
    status: str


class _Success(msgspec.Struct):
    success: bool = False


class _Validated(_Success):
    validation_errors: list[msgspec.Raw] = []


async def create_flow(call: AccountCall) -> Document:
    """CreateWhatsAppFlow: a draft, or published at once if its JSON has no errors."""
    doing, body = "creating the flow", _new_flow(call.members)
    if call.members.get("cloneFlowId") is not None:
        with call.circuit():
            async with call.attempts.bounded():
                await _owned(call, "cloneFlowId")

    async def attempt() -> Any:
        created = await call.components.graph.post(
            call.target.token, f"{call.target.meta_id}/flows", body, CREATED, doing, call=CREATING
        )
        if created.flowId is None:
            raise not_documented(doing, CREATING)
        return created

    created = await once(call, attempt, doing)
    call.components.owned.add(call.target.id, created.flowId)
    return {"validationErrors": []} | document(created)


async def get_flow(call: AccountCall) -> Document:
    """GetWhatsAppFlow: a flow of the account, as Meta has it now."""
    doing = "reading the flow"
    flow = await call.graph.get(call.members["flowId"], FLOW, doing, fields=fields(FLOW))
    if flow.whatsAppBusinessAccount is None:
        raise not_documented(doing)
    if flow.whatsAppBusinessAccount.id != call.target.meta_id:  # the token may reach more than the policy names
        raise not_owned("flow")
    call.components.owned.add(call.target.id, flow.flowId)
    return {"validationErrors": []} | document(flow)


async def list_flows(call: AccountCall) -> Document:
    """ListWhatsAppFlows."""
    path, doing = f"{call.target.meta_id}/flows", "listing the flows"
    found, following = await listed(call, path, SUMMARY, doing, fields=fields(SUMMARY))
    for flow in found:
        call.components.owned.add(call.target.id, flow.flowId)
    return {"flows": [document(flow) for flow in found]} | following


async def update_flow(call: AccountCall) -> Document:
    """UpdateWhatsAppFlow: its name, categories, endpoint or app."""
    doing, flow_id = "changing the flow", await _owned(call)
    body = renamed(call.members, _CHANGES, _NAMES | {"metaAppId": "application_id"})
    if not (await call.graph.post(flow_id, body, _Success, doing, call=SETTING)).success:
        raise not_documented(doing)
    return {}


async def update_assets(call: AccountCall) -> Document:
    """UpdateWhatsAppFlowAssets: the flow's JSON anew, which makes a published flow a draft."""
    doing, flow_id = "changing the flow's JSON", await _owned(call)
    file, boundary = call.members["flowJson"], secrets.token_hex(16)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {"name": "flow.json", "asset_type": "FLOW_JSON", "messaging_product": "whatsapp"}.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="flow.json"\r\n'
    parts = (f"{head}Content-Type: application/json\r\n\r\n".encode(), file, f"\r\n--{boundary}--\r\n".encode())

    async def body() -> AsyncGenerator[Bytes]:
        for part in parts:
            yield Bytes(part)

    async def attempt() -> _Validated:
        content_type = f"multipart/form-data; boundary={boundary}"
        graph, token, length = call.components.graph, call.target.token, sum(map(len, parts))
        validated = await graph.send(
            token,
            f"{flow_id}/assets",
            body(),
            _Validated,
            doing,
            call=SETTING,
            content_type=content_type,
            length=length,
        )
        if not validated.success:
            raise not_documented(doing, SETTING)
        return validated

    validated = await call.attempts.run(attempt)
    return {"validationErrors": document(validated)["validation_errors"]}


async def list_assets(call: AccountCall) -> Document:
    """ListWhatsAppFlowAssets: links to the flow's files, which need no token and end soon. They are handed on."""
    path, doing = f"{await _owned(call)}/assets", "listing the flow's files"
    found, following = await listed(call, path, ASSET, doing)
    return {"flowAssets": [document(asset) for asset in found]} | following


async def get_preview(call: AccountCall) -> Document:
    """GetWhatsAppFlowPreview: a link for thirty days; a new one with `invalidate`, which ends the one before."""
    doing = "reading the flow's preview"
    field = f"preview.invalidate({'true' if call.members.get('invalidate') else 'false'})"
    return document(await call.graph.get(await _owned(call), PREVIEW, doing, fields=field))


async def publish(call: AccountCall) -> Document:
    """PublishWhatsAppFlow."""
    return await _move(call, "publish", "PUBLISHED", "publishing the flow", PUBLISHING)


async def deprecate(call: AccountCall) -> Document:
    """DeprecateWhatsAppFlow."""
    return await _move(call, "deprecate", "DEPRECATED", "deprecating the flow")


async def delete_flow(call: AccountCall) -> Document:
    """DeleteWhatsAppFlow: a draft, for good."""
    doing, flow_id = "deleting the flow", await _owned(call)

    async def attempt() -> None:
        found = await call.components.graph.delete(call.target.token, flow_id, _Success, doing)
        if not found.success:
            raise not_documented(doing)

    await moved(call, attempt, gone, hop="delete")
    call.components.owned.forget(call.target.id, flow_id)
    return {}


def check_json(members: Members) -> None:
    """Raise `InvalidParametersException` for flow JSON that is no text."""
    try:
        (members.get("flowJson") or b"").decode()
    except UnicodeDecodeError:
        raise InvalidParametersException("flowJson must be UTF-8 text (with an SDK: its bytes, not base64).") from None


def some_change(members: Members) -> None:
    """Raise `InvalidParametersException` if there is nothing to change."""
    if all(members.get(name) is None for name in _CHANGES):
        raise InvalidParametersException("Give at least one of flowName, categories, endpointUri and metaAppId.")


OPERATIONS: Final[Mapping[str, Row]] = {
    "CreateWhatsAppFlow": on_account(create_flow, check_json, guarded=False),
    "GetWhatsAppFlow": on_account(get_flow),
    "ListWhatsAppFlows": on_account(list_flows),
    "UpdateWhatsAppFlow": on_account(update_flow, some_change),
    "UpdateWhatsAppFlowAssets": on_account(update_assets, check_json),
    "ListWhatsAppFlowAssets": on_account(list_assets),
    "GetWhatsAppFlowPreview": on_account(get_preview),
    "PublishWhatsAppFlow": on_account(publish),
    "DeprecateWhatsAppFlow": on_account(deprecate),
    "DeleteWhatsAppFlow": on_account(delete_flow),
}


def _new_flow(members: Members) -> bytes:
    """Write a new flow as Meta wants it. Its JSON is text there, of which no copy is left behind."""
    new = renamed(members, ("flowName", "categories", "publish", "cloneFlowId", "endpointUri"), _NAMES)
    if members.get("flowJson") is not None:
        new["flow_json"] = members["flowJson"].decode()
    return msgspec.json.encode(new)


async def _owned(call: AccountCall, member: str = "flowId") -> str:
    """Return the id of the flow that a member names, which is the account's. Raises `ResourceNotFoundException`."""
    flow_id: str = call.members[member]

    async def look() -> bool:
        doing = "looking up whose flow it is"
        found = await call.graph.get(flow_id, _Owned, doing, fields="whatsapp_business_account")
        return found.whatsapp_business_account.id == call.target.meta_id

    await call.components.owned.check(call.target.id, flow_id, look, "flow")
    return flow_id


async def _move(call: AccountCall, edge: str, status: str, doing: str, kind: CallKind = READING) -> Document:
    """Bring the flow into a status from which no call brings it back."""
    flow_id = await _owned(call)

    async def attempt() -> None:
        graph, token = call.components.graph, call.target.token
        if not (await graph.post(token, f"{flow_id}/{edge}", {}, _Success, doing, call=kind)).success:
            raise not_documented(doing)

    async def is_done() -> bool:
        found = await call.components.graph.get(call.target.token, flow_id, _Status, "reading the flow's status")
        return found.status == status

    await moved(call, attempt, is_done)
    return {}
