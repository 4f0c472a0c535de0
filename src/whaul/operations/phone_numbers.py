"""UpdateLinkedWhatsAppBusinessAccountPhoneNumber: how a phone number takes calls is set at Meta, and kept there.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/call-settings
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, time
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import DependencyException, InvalidParametersException, Retry
from whaul.graph.errors import CallKind
from whaul.operations.call import NumberCall, Row, on_number

CHANGING: Final = CallKind(names_object=False)
"""Repeatable: what is set twice is set."""
MAX_A_DAY = 2
"""Meta's rule, as are the others of `_check_openings`.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/call-settings#call-hours
"""


class _Schedule(NamedTuple):
    """A list of times in which a business takes calls: its member, and those of its entries."""

    member: str
    day: str
    start: str
    end: str


WEEKLY: Final = _Schedule("weeklyOperatingHours", "dayOfWeek", "openTime", "closeTime")
HOLIDAYS: Final = _Schedule("holidaySchedule", "date", "startTime", "endTime")
_Opening = tuple[str, time, time]
"""A day of the week (`MONDAY`) or a date, and from when to when."""


class _Changed(msgspec.Struct):
    success: bool


async def update_number(call: NumberCall) -> Document:
    """Change the call settings of a phone number; those that are not given stay as they are."""
    doing = "changing the call settings"
    body = {"calling": _calling(call.members["callSettings"])}
    changed = await call.graph.post(f"{call.target.meta_id}/settings", body, _Changed, doing, call=CHANGING)
    if not changed.success:
        raise DependencyException("Meta did not change the call settings, and gave no reason.", retry=Retry.NO)
    return {"phoneNumberId": call.target.id}


def check_hours(members: Members) -> None:
    """Raise `InvalidParametersException` for hours that cannot be, or that Meta documents to refuse."""
    hours = members["callSettings"].get("callHours")
    if hours is None:
        return
    for schedule in (WEEKLY, HOLIDAYS):
        _check_openings(f"callSettings.callHours.{schedule.member}", _openings(hours, schedule))
    for day, _, _ in _openings(hours, HOLIDAYS):
        try:
            date.fromisoformat(day)
        except ValueError:
            raise InvalidParametersException(f"{day} in holidaySchedule is not a date.") from None


OPERATIONS: Final[Mapping[str, Row]] = {
    "UpdateLinkedWhatsAppBusinessAccountPhoneNumber": on_number(update_number, check_hours)
}


def _openings(hours: Members, schedule: _Schedule) -> list[_Opening]:
    entries = hours.get(schedule.member) or ()
    return [(entry[schedule.day], _time(entry[schedule.start]), _time(entry[schedule.end])) for entry in entries]


def _time(moment: Members) -> time:
    return time(moment["hours"], moment["minutes"])


def _check_openings(path: str, openings: list[_Opening]) -> None:
    days: defaultdict[str, list[tuple[time, time]]] = defaultdict(list)
    for day, start, end in openings:
        days[day].append((start, end))
        if start >= end:
            raise InvalidParametersException(f"{path}: each entry must begin before it ends, on the same day.")
    for times in days.values():
        times.sort()
        if len(times) > MAX_A_DAY:
            raise InvalidParametersException(f"{path}: a day can have at most {MAX_A_DAY} entries.")
        if any(later < end for (_, end), (later, _) in pairwise(times)):
            raise InvalidParametersException(f"{path}: the entries of a day may not overlap.")


def _calling(settings: Members) -> dict[str, Any]:
    """Write the settings as Meta names them."""
    hours = settings.get("callHours")
    chosen: dict[str, Any] = {
        "call_icon_visibility": settings.get("callIconVisibility"),
        "callback_permission_status": settings.get("callbackPermissionStatus"),
        "call_hours": _call_hours(hours) if hours else None,
    }
    return {"status": _switch(settings["callEnabled"])} | {k: v for k, v in chosen.items() if v is not None}


def _call_hours(hours: Members) -> dict[str, Any]:
    return {
        "status": _switch(hours["enabled"]),
        "timezone_id": hours["timezone"],
        "weekly_operating_hours": [
            {"day_of_week": day, "open_time": f"{start:%H%M}", "close_time": f"{end:%H%M}"}
            for day, start, end in _openings(hours, WEEKLY)
        ],
        "holiday_schedule": [
            {"date": day, "start_time": f"{start:%H%M}", "end_time": f"{end:%H%M}"}
            for day, start, end in _openings(hours, HOLIDAYS)
        ],
    }


def _switch(on: bool) -> str:
    return "ENABLED" if on else "DISABLED"
