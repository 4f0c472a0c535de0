"""The operations on voice calls: may this person be called, and what is done about a call.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import InvalidParametersException
from whaul.graph.client import not_documented
from whaul.graph.errors import CallKind
from whaul.operations.call import NumberCall, Row, on_number
from whaul.operations.messages import PRODUCT, check_version
from whaul.operations.repeats import once
from whaul.operations.translation import document, meta_type

DEADLINE: Final = 15.0
"""Seconds for an event of a call: who calls hears it ring for 30 to 60, so a later answer is a stale one."""
ASKING: Final = CallKind(names_object=False, is_callers=True)
TELLING: Final = CallKind(is_repeatable=False, names_object=False, is_callers=True)
PERMISSION: Final = meta_type(
    "GetWhatsAppCallPermissionOutput",
    types={"Timestamp": int},
    defaults={"WhatsAppCallPermissionActionList": [], "WhatsAppCallPermissionLimitList": []},
)


class _Event(msgspec.Struct):
    messaging_product: Any = None
    call_id: Any = None


class _Id(msgspec.Struct):
    id: str


class _Told(msgspec.Struct):
    calls: list[_Id] = []
    success: bool = False


_event_decoder = msgspec.json.Decoder(_Event)


async def get_permission(call: NumberCall) -> Document:
    """GetWhatsAppCallPermission: of a person, named by phone number or business-scoped user id."""
    number, user_id = call.members.get("destinationPhoneNumber"), call.members.get("endUserBsuid")
    who = {"user_wa_id": number.removeprefix("+")} if number is not None else {"recipient": user_id}
    path, doing = f"{call.target.meta_id}/call_permissions", "reading the permission to call"
    return document(await call.graph.get(path, PERMISSION, doing, call=ASKING, **who))


async def send_event(call: NumberCall) -> Document:
    """SendWhatsAppCallEvent: the event goes to Meta as it came, once, and soon or not at all."""
    doing, path = "sending the event of a call", f"{call.target.meta_id}/calls"
    event, version = call.members["callEvent"], call.members["metaApiVersion"]

    async def attempt() -> str:
        told = await call.components.graph.post(
            call.target.token, path, event, _Told, doing, call=TELLING, version=version
        )
        call_id = told.calls[0].id if told.calls else _event_decoder.decode(event).call_id
        if not (told.calls or told.success) or not isinstance(call_id, str):
            raise not_documented(doing, TELLING)
        return call_id

    deadline = min(call.attempts.deadline, asyncio.get_running_loop().time() + DEADLINE)
    return {"callId": await once(call, attempt, doing, deadline=deadline, tries_again=False)}


def one_person(members: Members) -> None:
    """Raise `InvalidParametersException` for both or no person."""
    if (members.get("destinationPhoneNumber") is None) == (members.get("endUserBsuid") is None):
        raise InvalidParametersException("Give either destinationPhoneNumber or endUserBsuid.")


def check_event(members: Members) -> None:
    """Look at what whaul answers for; the rest is between the caller and Meta. Raises `InvalidParametersException`."""
    check_version(members)
    try:
        event = _event_decoder.decode(members["callEvent"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidParametersException(
            "callEvent must be a JSON object, the body of a call to Meta (with an SDK: its bytes, not base64)."
        ) from None
    if event.messaging_product != PRODUCT:
        raise InvalidParametersException(f'callEvent must hold "messaging_product": "{PRODUCT}".')


OPERATIONS: Final[Mapping[str, Row]] = {
    "GetWhatsAppCallPermission": on_number(get_permission, one_person),
    "SendWhatsAppCallEvent": on_number(send_event, check_event, guarded=False),
}
