"""The shapes of UpdateLinkedWhatsAppBusinessAccountPhoneNumber."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, time
from itertools import pairwise

import msgspec

from whaul.api.request import Request
from whaul.errors import InvalidParametersException
from whaul.model import CallHours, CallSettings, OpenHours
from whaul.wire.constraints import PHONE_NUMBER_ID, Constraint, Member, check, outside, too_many
from whaul.wire.protocol import decoded, encoded, query_members

REQUIRED = Constraint(required=True)
TIMEZONE = Constraint(required=True, least=1, most=100)
CHOICE = Constraint(least=1, most=50)
"""Which values there are is Meta's to say."""
DAY_OF_WEEK = Constraint(
    required=True, values=("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
)
DATE = Constraint(required=True, least=10, most=10, pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}")
HOURS = "callSettings.callHours"
LAST_HOUR, LAST_MINUTE = 23, 59
MOST_WEEKLY = 14
MOST_HOLIDAYS = 20
MOST_A_DAY = 2
"""Meta's rule, as are the others of `_openings`.

https://developers.facebook.com/documentation/business-messaging/whatsapp/calling/call-settings#call-hours
"""


class _Time(msgspec.Struct):
    hours: int | None = None
    minutes: int | None = None


class _Weekly(msgspec.Struct, rename={"day": "dayOfWeek", "start": "openTime", "end": "closeTime"}):
    day: str | None = None
    start: _Time | None = None
    end: _Time | None = None


class _Holiday(msgspec.Struct, rename={"day": "date", "start": "startTime", "end": "endTime"}):
    day: str | None = None
    start: _Time | None = None
    end: _Time | None = None


_Openings = Sequence[_Weekly | _Holiday]


class _Hours(msgspec.Struct, rename="camel"):
    enabled: bool | None = None
    timezone: str | None = None
    weekly_operating_hours: list[_Weekly] | None = None
    holiday_schedule: list[_Holiday] | None = None


class _Settings(msgspec.Struct, rename="camel"):
    call_enabled: bool | None = None
    call_hours: _Hours | None = None
    call_icon_visibility: str | None = None
    callback_permission_status: str | None = None


class _UpdateNumber(msgspec.Struct, rename="camel"):
    call_settings: _Settings | None = None


class _UpdateNumberAnswer(msgspec.Struct, rename="camel"):
    phone_number_id: str


_decoder = msgspec.json.Decoder(_UpdateNumber)


def update_number(given: Request) -> tuple[str, CallSettings]:
    """Read the input of UpdateLinkedWhatsAppBusinessAccountPhoneNumber: the id or ARN, and what to set.

    Raises `SerializationException`, `ValidationException` with every constraint that is broken, and
    `InvalidParametersException` for hours that cannot be, or that Meta documents to refuse.
    """
    id_ = query_members(given.query).get("id")
    settings = decoded(_decoder, given.body).call_settings
    members: list[Member] = [(PHONE_NUMBER_ID, "id", id_), (REQUIRED, "callSettings", _present(settings))]
    others: list[str | None] = []
    if settings is not None:
        members += [
            (REQUIRED, "callSettings.callEnabled", _present(settings.call_enabled)),
            (CHOICE, "callSettings.callIconVisibility", settings.call_icon_visibility),
            (CHOICE, "callSettings.callbackPermissionStatus", settings.callback_permission_status),
        ]
        if settings.call_hours is not None:
            members += _hours_members(settings.call_hours)
            others += _hours_violations(settings.call_hours)
    check(members, *others)
    found = settings or _Settings()
    return id_ or "", CallSettings(
        enabled=bool(found.call_enabled),
        hours=_call_hours(found.call_hours) if found.call_hours is not None else None,
        icon_visibility=found.call_icon_visibility,
        callback_permission_status=found.callback_permission_status,
    )


def update_number_answer(phone_number_id: str) -> bytes:
    """Write the output of UpdateLinkedWhatsAppBusinessAccountPhoneNumber."""
    return encoded(_UpdateNumberAnswer(phone_number_id))


def _present(value: object) -> str | None:
    """What `check` needs of a member that is no string: whether it is there."""
    return None if value is None else ""


def _schedules(hours: _Hours) -> Iterator[tuple[str, Constraint, _Openings, int]]:
    """The two lists of openings: the path, what their days must be, the openings, and how many there may be."""
    yield f"{HOURS}.weeklyOperatingHours", DAY_OF_WEEK, hours.weekly_operating_hours or (), MOST_WEEKLY
    yield f"{HOURS}.holidaySchedule", DATE, hours.holiday_schedule or (), MOST_HOLIDAYS


def _numbered(openings: _Openings, most: int) -> Iterator[tuple[int, _Weekly | _Holiday]]:
    """The openings with their places, those beyond the most left out: a message is not to grow with the request."""
    return enumerate(openings[:most], start=1)


def _hours_members(hours: _Hours) -> Iterator[Member]:
    yield REQUIRED, f"{HOURS}.enabled", _present(hours.enabled)
    yield TIMEZONE, f"{HOURS}.timezone", hours.timezone
    yield REQUIRED, f"{HOURS}.weeklyOperatingHours", _present(hours.weekly_operating_hours)
    for path, day, openings, most in _schedules(hours):
        for place, opening in _numbered(openings, most):
            names = opening.__struct_encode_fields__
            yield day, f"{path}.{place}.member.{names[0]}", opening.day


def _hours_violations(hours: _Hours) -> Iterator[str | None]:
    for path, _, openings, most in _schedules(hours):
        yield too_many(path, openings, most)
        for place, opening in _numbered(openings, most):
            names = opening.__struct_encode_fields__
            for name, moment in zip(names[1:], (opening.start, opening.end), strict=True):
                yield from _time_violations(f"{path}.{place}.member.{name}", moment)


def _time_violations(path: str, moment: _Time | None) -> Iterator[str | None]:
    yield REQUIRED.violation(path, _present(moment))
    if moment is not None:
        for name, value, most in (("hours", moment.hours, LAST_HOUR), ("minutes", moment.minutes, LAST_MINUTE)):
            yield REQUIRED.violation(f"{path}.{name}", _present(value)) or outside(f"{path}.{name}", value, 0, most)


def _call_hours(given: _Hours) -> CallHours:
    """Take over hours that keep their constraints. Raises `InvalidParametersException`."""
    weekly, holidays = (_openings(path, openings) for path, _, openings, _ in _schedules(given))
    for opening in holidays:
        try:
            date.fromisoformat(opening.day)
        except ValueError:
            raise InvalidParametersException(f"{opening.day} in holidaySchedule is not a date.") from None
    return CallHours(bool(given.enabled), given.timezone or "", weekly, holidays)


def _openings(path: str, given: _Openings) -> tuple[OpenHours, ...]:
    """Take over a list of openings, if Meta could take it. Raises `InvalidParametersException`."""
    found = tuple(OpenHours(opening.day or "", _time(opening.start), _time(opening.end)) for opening in given)
    days: defaultdict[str, list[OpenHours]] = defaultdict(list)
    for opening in found:
        days[opening.day].append(opening)
        if opening.start >= opening.end:
            raise InvalidParametersException(f"{path}: each entry must begin before it ends, on the same day.")
    for openings in days.values():
        openings.sort(key=lambda opening: opening.start)
        if len(openings) > MOST_A_DAY:
            raise InvalidParametersException(f"{path}: a day can have {MOST_A_DAY} entries at the most.")
        if any(later.start < earlier.end for earlier, later in pairwise(openings)):
            raise InvalidParametersException(f"{path}: the entries of a day may not overlap.")
    return found


def _time(given: _Time | None) -> time:
    return time(given.hours or 0, given.minutes or 0) if given is not None else time()
