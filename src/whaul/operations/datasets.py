"""The operations on data sets: what came of an ad that led to a chat, told to Meta.

https://developers.facebook.com/docs/marketing-api/conversions-api/business-messaging
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import InvalidParametersException
from whaul.graph.client import not_documented
from whaul.graph.errors import CALLERS_ADVICE, CallKind
from whaul.operations.call import AccountCall, Row, on_account
from whaul.operations.repeats import once

RIGHTS: Final = (
    "The token needs the permission whatsapp_business_manage_events, and its system user access to the data set; "
    "link the account again with such a token (whaul link)."
)
READING: Final = CallKind(missing=RIGHTS, permission=RIGHTS)
SENDING: Final = CallKind(
    is_repeatable=False,
    names_object=False,
    is_callers=True,
    refused=f"{CALLERS_ADVICE} {RIGHTS}",  # a data set that is not shared looks the same
    missing=RIGHTS,
    permission=RIGHTS,
)


class _Id(msgspec.Struct):
    id: str


class _Found(msgspec.Struct):
    """The account's data set, as an object or in a list: both are seen."""

    id: str | None = None
    data: list[_Id] = []


class _Received(msgspec.Struct):
    events_received: int = 0
    fbtrace_id: str | None = None


_any_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw])


async def create_dataset(call: AccountCall) -> Document:
    """CreateWhatsAppDataset: the account's data set, made if there is none."""
    doing = "creating the data set"
    found = await call.graph.post(f"{call.target.meta_id}/dataset", {}, _Id, doing, call=READING)
    call.components.owned.add(call.target.id, found.id)
    return {"datasetId": found.id}


async def send_event(call: AccountCall) -> Document:
    """SendWhatsAppConversionEvent: events go to Meta as they came, once."""
    doing, dataset_id = "sending the conversion event", call.members["datasetId"]
    body = envelope(call.members["eventData"])

    async def attempt() -> str | None:
        await call.components.owned.check(call.target.id, dataset_id, lambda: _owns(call, dataset_id), "data set")
        received = await call.components.graph.post(
            call.target.token, f"{dataset_id}/events", body, _Received, doing, call=SENDING
        )
        if not received.events_received:
            raise not_documented(doing, SENDING)
        return received.fbtrace_id

    return {"requestId": await once(call, attempt, doing) or call.record.request_id}


def envelope(event_data: bytes) -> bytes:
    """Write Meta's body around events: one, a list, or a body that is whole. Raises `InvalidParametersException`.

    AWS does not document which of them `eventData` holds; each can be told from the others.
    """
    try:
        content: Any = _any_decoder.decode(event_data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = {}
    if isinstance(content, list) and content:
        return b'{"data":%b}' % event_data
    if "event_name" in content:
        return b'{"data":[%b]}' % event_data
    if isinstance(content, dict) and _is_list(content.get("data")):
        return event_data
    raise InvalidParametersException(
        "eventData must be JSON: an event of Meta's Conversions API with its `event_name`, a list of them, or an "
        "object whose `data` is such a list (with an SDK: its bytes, not base64)."
    )


def check_event(members: Members) -> None:
    """Raise `InvalidParametersException` for what is no event."""
    envelope(members["eventData"])


OPERATIONS: Final[Mapping[str, Row]] = {
    "CreateWhatsAppDataset": on_account(create_dataset),
    "SendWhatsAppConversionEvent": on_account(send_event, check_event, guarded=False),
}


def _is_list(value: msgspec.Raw | None) -> bool:
    """Whether there is something in a list."""
    try:
        return value is not None and len(msgspec.json.decode(value, type=list[msgspec.Raw])) > 0
    except msgspec.DecodeError:
        return False


async def _owns(call: AccountCall, dataset_id: str) -> bool:
    path, doing = f"{call.target.meta_id}/dataset", "looking up the account's data set"
    found = await call.components.graph.get(call.target.token, path, _Found, doing, call=READING)
    return dataset_id in {found.id, *(one.id for one in found.data)}
