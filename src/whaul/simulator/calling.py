"""`…/{phone-number-id}/settings`: the call settings of a number, checked as Meta documents it, kept and shown.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/call-settings
"""

import json
import re
from collections import defaultdict
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

from aiohttp import web

from whaul.simulator.answers import Answer, RefusedError, graph_error, graph_json
from whaul.simulator.faults import Fault
from whaul.simulator.scripted import distort_members
from whaul.simulator.state import State

SWITCH = ("ENABLED", "DISABLED")
CHOICES = {
    "status": SWITCH,
    "call_icon_visibility": ("DEFAULT", "DISABLE_ALL"),
    "callback_permission_status": SWITCH,
}
NOT_SET = "NOT_SET"
"""What Meta shows of a choice that nobody has made; seen, not documented."""
DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MOST_A_DAY = 2
MOST_HOLIDAYS = 20

_TIME = re.compile(r"([01][0-9]|2[0-3])[0-5][0-9]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_ZONE = re.compile(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+){0,2}")


async def settings(state: State, request: web.Request, number_id: str, fault: Fault | None) -> Answer:
    """`GET` shows what was set; `POST` changes it."""
    if request.method == "POST":
        await _change(state, request, number_id)
        return graph_json({"success": True})
    calling = dict.fromkeys(CHOICES, NOT_SET) | dict(state.phone_numbers[number_id].calling)
    return graph_json(distort_members(fault, {"calling": calling}))


async def _change(state: State, request: web.Request, number_id: str) -> None:
    """Change the members of `calling` that are given; `call_hours` is replaced as a whole."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        body = None
    calling = body.get("calling") if isinstance(body, dict) else None
    if not isinstance(calling, dict):
        raise _refused("calling is required, and an object.")
    for name, choices in CHOICES.items():
        _check_choice(calling, name, choices)
    if "call_hours" in calling:
        _check_hours(calling["call_hours"], datetime.fromtimestamp(state.now(), UTC).date())
        calling["call_hours"] = {"holiday_schedule": []} | calling["call_hours"]
    known = state.phone_numbers[number_id].calling
    state.change_phone_number(number_id, {"calling": {**known, **calling}})


def _check_choice(members: dict[str, Any], name: str, choices: tuple[str, ...]) -> None:
    if name in members and members[name] not in choices:
        raise _refused(f"{name} must be one of {{{', '.join(choices)}}}.")


def _check_hours(hours: Any, today: date) -> None:
    if not isinstance(hours, dict) or "status" not in hours:
        raise _refused("call_hours needs a status.")
    _check_choice(hours, "status", SWITCH)
    if not isinstance(hours.get("timezone_id"), str) or not _TIME_ZONE.fullmatch(hours["timezone_id"]):
        raise _refused("timezone_id in call_hours is not a time zone.")
    week, holidays = hours.get("weekly_operating_hours"), hours.get("holiday_schedule", [])
    if not isinstance(week, list) or not week:
        raise _refused("weekly_operating_hours in call_hours cannot be empty.")
    _check_schedule(week, ("day_of_week", "open_time", "close_time"))
    if any(entry["day_of_week"] not in DAYS for entry in week):
        raise _refused("day_of_week is not a day of the week.")
    if not isinstance(holidays, list) or len(holidays) > MOST_HOLIDAYS:
        raise _refused(f"holiday_schedule is a list of {MOST_HOLIDAYS} at the most.")
    _check_schedule(holidays, ("date", "start_time", "end_time"))
    for entry in holidays:
        if not _DATE.fullmatch(entry["date"]):
            raise _refused("date in holiday_schedule is not YYYY-MM-DD.")
        try:
            day = date.fromisoformat(entry["date"])
        except ValueError as exc:
            raise _refused("date in holiday_schedule is not a date.") from exc
        if day < today:
            raise _refused("date in holiday_schedule is past.")


def _check_schedule(entries: list[Any], names: tuple[str, str, str]) -> None:
    """Check openings that each name a day, a start and an end."""
    days: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for entry in entries:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in names):
            raise _refused(f"An entry of a schedule has {', '.join(names)}.")
        day, start, end = (entry[name] for name in names)
        if not _TIME.fullmatch(start) or not _TIME.fullmatch(end) or start >= end:
            raise _refused(f"{names[1]} and {names[2]} are times such as 0930, the first before the second.")
        days[day].append((start, end))
    for openings in days.values():
        if len(openings) > MOST_A_DAY:
            raise _refused(f"More than {MOST_A_DAY} entries for a day are not allowed.")
        openings.sort()
        if any(later[0] < earlier[1] for earlier, later in pairwise(openings)):
            raise _refused("Overlapping entries in call_hours are not allowed.")


def _refused(details: str) -> RefusedError:
    return RefusedError(graph_error(100, "(#100) Invalid parameter", details=details))
