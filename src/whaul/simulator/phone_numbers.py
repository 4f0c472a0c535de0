"""What is set for a phone number: its registration, and how it takes calls. Checked as Meta documents it.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/call-settings
https://developers.facebook.com/documentation/business-messaging/whatsapp/embedded-signup/overview
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from whaul.simulator.calls import Call
from whaul.simulator.responses import RefusedError, graph_error, invalid

NOT_SET = "NOT_SET"
"""What Meta shows of a choice that nobody has made; seen, not documented."""
MAX_OPENINGS_A_DAY = 2

Shape = TypeVar("Shape", bound=Struct)
Switch = Literal["ENABLED", "DISABLED"]
Time = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3])[0-5][0-9]\Z")]


class _Registration(Struct):
    messaging_product: Literal["whatsapp"]
    pin: Annotated[str, Meta(pattern=r"^[0-9]{6}\Z")]
    data_localization_region: Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")] = "CH"


class _Weekly(Struct, rename={"day": "day_of_week", "start": "open_time", "end": "close_time"}):
    day: Literal["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
    start: Time
    end: Time


class _Holiday(Struct, rename={"day": "date", "start": "start_time", "end": "end_time"}):
    day: date
    start: Time
    end: Time


class _Hours(Struct):
    status: Switch
    timezone_id: Annotated[str, Meta(pattern=r"^[A-Za-z_]+(/[A-Za-z0-9_+-]+){0,2}\Z")]
    weekly_operating_hours: Annotated[list[_Weekly], Meta(min_length=1)]
    holiday_schedule: Annotated[list[_Holiday], Meta(max_length=20)] = []


class _Calling(Struct):
    status: Switch | UnsetType = UNSET
    call_icon_visibility: Literal["DEFAULT", "DISABLE_ALL"] | UnsetType = UNSET
    callback_permission_status: Switch | UnsetType = UNSET
    call_hours: _Hours | UnsetType = UNSET


class _Settings(Struct):
    calling: _Calling


CHOICES = ("status", "call_icon_visibility", "callback_permission_status")


async def register(call: Call) -> Any:
    """`POST /{phone-number-id}/register`: the number is CONNECTED afterwards."""
    pin = _checked(await call.body(), _Registration).pin
    if call.state.settings.two_factor_pin not in {None, pin}:
        raise RefusedError(graph_error(133005))
    call.state.change_phone_number(call.object.id, {"status": "CONNECTED"})
    if key := call.state.public_keys.get(call.object.id):
        key.status = "MISMATCH"  # it was signed with what the number was before
    return {"success": True}


async def show_settings(call: Call) -> Any:
    """`GET /{phone-number-id}/settings`."""
    return {"calling": dict.fromkeys(CHOICES, NOT_SET) | dict(call.object.calling)}


async def change_settings(call: Call) -> Any:
    """`POST /{phone-number-id}/settings`: change the members of `calling` that come; `call_hours` as a whole."""
    body = await call.body()
    hours = _checked(body, _Settings).calling.call_hours
    calling: dict[str, Any] = body["calling"]
    if hours is not UNSET:
        _check_openings(hours.weekly_operating_hours)
        _check_openings(hours.holiday_schedule)
        today = datetime.fromtimestamp(call.state.now(), UTC).date()
        if any(holiday.day < today for holiday in hours.holiday_schedule):
            raise _refused("A date in holiday_schedule is past.")
        calling["call_hours"] = {"holiday_schedule": []} | calling["call_hours"]
    call.state.change_phone_number(call.object.id, {"calling": {**call.object.calling, **calling}})
    return {"success": True}


def _check_openings(openings: Iterable[_Weekly | _Holiday]) -> None:
    days: defaultdict[object, list[tuple[str, str]]] = defaultdict(list)
    for opening in openings:
        days[opening.day].append((opening.start, opening.end))
    for times in days.values():
        if len(times) > MAX_OPENINGS_A_DAY:
            raise _refused(f"A day has at most {MAX_OPENINGS_A_DAY} entries.")
        if any(start >= end for start, end in times):
            raise _refused("An entry begins before it ends, on the same day.")
        if any(later[0] < earlier[1] for earlier, later in pairwise(sorted(times))):
            raise _refused("Entries of a day do not overlap.")


def _checked(body: object, shape: type[Shape]) -> Shape:
    try:
        return msgspec.convert(body, type=shape)
    except msgspec.ValidationError as exc:
        raise _refused(str(exc)) from exc


def _refused(details: str) -> RefusedError:
    return invalid("Invalid parameter", details)
