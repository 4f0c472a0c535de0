"""The shapes of UpdateLinkedWhatsAppBusinessAccountPhoneNumber, with botocore as the oracle."""

import json
from datetime import time
from typing import Any
from urllib.parse import urlencode

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from whaul.api.request import Request
from whaul.api.service import ROUTES
from whaul.errors import ApiError, InvalidParametersException, SerializationException, ValidationException
from whaul.model import CallHours, CallSettings, OpenHours
from whaul.wire import calling, constraints
from whaul.wire.calling import update_number, update_number_answer
from whaul.wire.constraints import Constraint

MODEL = botocore.session.Session().get_service_model("socialmessaging")
OPERATION = MODEL.operation_model("UpdateLinkedWhatsAppBusinessAccountPhoneNumber")
HEX = "0123456789abcdef0123456789abcdef"
NUMBER, NUMBER_ARN = f"phone-number-id-{HEX}", f"arn:aws:social-messaging:eu-west-1:123456789012:phone-number-id/{HEX}"
QUERY = f"id={NUMBER}".encode()
MONDAY = {"dayOfWeek": "MONDAY", "openTime": {"hours": 0, "minutes": 0}, "closeTime": {"hours": 23, "minutes": 59}}
HOLIDAY = {"date": "2028-02-29", "startTime": {"hours": 9, "minutes": 5}, "endTime": {"hours": 9, "minutes": 6}}
HOURS = {"enabled": True, "timezone": "America/New_York", "weeklyOperatingHours": [MONDAY]}


def written(**members: Any) -> Request:
    request = create_serializer("rest-json").serialize_to_request(members, OPERATION)
    assert ROUTES[request["method"], request["url_path"]] == OPERATION.name
    return Request(urlencode(request["query_string"]).encode(), request["body"])


def set_to(**members: Any) -> Request:
    return Request(QUERY, json.dumps({"callSettings": {"callEnabled": True} | members}).encode())


def with_hours(**members: Any) -> Request:
    return set_to(callHours={name: value for name, value in (HOURS | members).items() if value is not None})


def at(day: str, *times: tuple[int, int]) -> dict[str, Any]:
    start, end = ({"hours": hours, "minutes": minutes} for hours, minutes in times)
    if day.isalpha():
        return {"dayOfWeek": day, "openTime": start, "closeTime": end}
    return {"date": day, "startTime": start, "endTime": end}


def refusal(kind: type[ApiError], given: Request) -> str:
    with pytest.raises(ApiError) as caught:
        update_number(given)
    assert type(caught.value) is kind, caught.value.message
    return caught.value.message


# --- what botocore writes is read, and what we write is read by botocore


@pytest.mark.parametrize("id_", [NUMBER, NUMBER_ARN])
@pytest.mark.parametrize("enabled", [True, False])
def test_the_least_that_can_be_set_is_read(id_: str, enabled: bool) -> None:
    given = written(id=id_, callSettings={"callEnabled": enabled})
    assert update_number(given) == (id_, CallSettings(enabled, None, None, None))


def test_everything_that_can_be_set_is_read() -> None:
    settings = {
        "callEnabled": True,
        "callHours": HOURS | {"holidaySchedule": [HOLIDAY]},
        "callIconVisibility": "DISABLE_ALL",
        "callbackPermissionStatus": "ENABLED",
    }
    _, found = update_number(written(id=NUMBER, callSettings=settings))
    weekly = (OpenHours("MONDAY", time(0, 0), time(23, 59)),)
    holidays = (OpenHours("2028-02-29", time(9, 5), time(9, 6)),)
    hours = CallHours(True, "America/New_York", weekly, holidays)
    assert found == CallSettings(True, hours, "DISABLE_ALL", "ENABLED")


def test_hours_that_are_off_may_be_empty_and_null_is_the_same_as_nothing() -> None:
    given = with_hours(enabled=False, weeklyOperatingHours=[])
    assert update_number(given)[1].hours == CallHours(False, "America/New_York", (), ())
    settings = {"callEnabled": True, "callHours": None, "callIconVisibility": None, "newer": {}}
    given = Request(QUERY, json.dumps({"callSettings": settings, "newer": 1}).encode())
    assert update_number(given)[1] == CallSettings(True, None, None, None)


def test_a_day_may_have_a_break_and_a_week_all_its_entries() -> None:
    days = calling.DAY_OF_WEEK.values
    week = [at(day, *times) for day in days for times in (((13, 0), (17, 30)), ((8, 0), (13, 0)))]
    hours = update_number(with_hours(weeklyOperatingHours=week))[1].hours
    assert hours is not None
    assert [opening.day for opening in hours.weekly] == [day for day in days for _ in range(2)]


def test_botocore_reads_the_answer() -> None:
    answer = {"status_code": 200, "headers": {}, "body": update_number_answer(NUMBER)}
    parsed = create_parser("rest-json").parse(answer, OPERATION.output_shape)
    parsed.pop("ResponseMetadata")
    assert parsed == {"phoneNumberId": NUMBER}


# --- what is refused


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b'{"callSettings": []}',
        b'{"callSettings": {"callEnabled": "true"}}',
        b'{"callSettings": {"callEnabled": 1}}',
        b'{"callSettings": {"callIconVisibility": false}}',
        b'{"callSettings": {"callHours": {"weeklyOperatingHours": {}}}}',
        b'{"callSettings": {"callHours": {"weeklyOperatingHours": [null]}}}',
        b'{"callSettings": {"callHours": {"weeklyOperatingHours": [{"openTime": "0900"}]}}}',
        b'{"callSettings": {"callHours": {"holidaySchedule": [{"endTime": {"hours": "9"}}]}}}',
        b'{"callSettings": {"callHours": {"holidaySchedule": [{"endTime": {"hours": 9.5}}]}}}',
    ],
)
def test_what_is_not_of_these_types_is_refused(body: bytes) -> None:
    refusal(SerializationException, Request(QUERY, body))


@pytest.mark.parametrize(
    ("given", "violation"),
    [
        (Request(b"", b""), "2 validation errors"),
        (Request(QUERY, b"{}"), "Value null at 'callSettings'"),
        (Request(b"id=waba-1", b'{"callSettings": {"callEnabled": true}}'), "phone-number-id"),
        (Request(QUERY, b'{"callSettings": {}}'), "Value null at 'callSettings.callEnabled'"),
        (set_to(callIconVisibility=""), "'callSettings.callIconVisibility'"),
        (set_to(callIconVisibility="x" * 51), "less than or equal to 50"),
        (set_to(callbackPermissionStatus=""), "'callSettings.callbackPermissionStatus'"),
        (set_to(callHours={}), "3 validation errors"),
        (with_hours(enabled=None), "Value null at 'callSettings.callHours.enabled'"),
        (with_hours(timezone=None), "Value null at 'callSettings.callHours.timezone'"),
        (with_hours(timezone=""), "'callSettings.callHours.timezone'"),
        (with_hours(timezone="x" * 101), "less than or equal to 100"),
        (with_hours(weeklyOperatingHours=None), "Value null at 'callSettings.callHours.weeklyOperatingHours'"),
        (with_hours(weeklyOperatingHours=[MONDAY] * 15), "weeklyOperatingHours' failed to satisfy constraint: Member"),
        (with_hours(weeklyOperatingHours=[MONDAY] * 15), "length less than or equal to 14"),
        (with_hours(weeklyOperatingHours=[{}]), "3 validation errors"),
        (with_hours(weeklyOperatingHours=[MONDAY, {}]), "weeklyOperatingHours.2.member.dayOfWeek"),
        (with_hours(weeklyOperatingHours=[MONDAY | {"dayOfWeek": "monday"}]), "enum value set: [MONDAY, TUESDAY,"),
        (with_hours(weeklyOperatingHours=[MONDAY | {"openTime": None}]), "1.member.openTime'"),
        (with_hours(weeklyOperatingHours=[MONDAY | {"closeTime": {}}]), "2 validation errors"),
        (with_hours(weeklyOperatingHours=[at("MONDAY", (24, 0), (1, 0))]), "member.openTime.hours'"),
        (with_hours(weeklyOperatingHours=[at("MONDAY", (-1, 0), (1, 0))]), "greater than or equal to 0"),
        (with_hours(weeklyOperatingHours=[at("MONDAY", (0, 0), (1, 60))]), "less than or equal to 59"),
        (with_hours(weeklyOperatingHours=[at("MONDAY", (0, 0), (1, 10**30))]), "closeTime.minutes'"),
        (with_hours(holidaySchedule=[HOLIDAY] * 21), "length less than or equal to 20"),
        (with_hours(holidaySchedule=[{}]), "'callSettings.callHours.holidaySchedule.1.member.date'"),
        (with_hours(holidaySchedule=[HOLIDAY | {"date": "2028-2-29"}]), "greater than or equal to 10"),
        (with_hours(holidaySchedule=[HOLIDAY | {"date": "2028-02-29Z"}]), "less than or equal to 10"),
        (with_hours(holidaySchedule=[HOLIDAY | {"date": "२028-02-29"}]), "[0-9]{4}-[0-9]{2}-[0-9]{2}"),
        (with_hours(holidaySchedule=[at("2028-02-29", (9, 0), (24, 0))]), "member.endTime.hours'"),
    ],
)
def test_what_breaks_a_constraint_is_refused(given: Request, violation: str) -> None:
    assert violation in refusal(ValidationException, given)


def test_a_message_does_not_grow_with_the_request() -> None:
    message = refusal(ValidationException, with_hours(weeklyOperatingHours=[{}] * 50_000, holidaySchedule=[{}] * 9_000))
    assert len(message) < 20_000


@pytest.mark.parametrize("digits", [19, 20, 400, 5_000, 100_000])
def test_a_number_of_many_digits_is_refused(digits: int) -> None:
    body = with_hours(weeklyOperatingHours=[at("MONDAY", (0, 0), (1, 77))]).body.replace(b"77", b"7" * digits)
    with pytest.raises((SerializationException, ValidationException)) as caught:
        update_number(Request(QUERY, body))
    assert len(caught.value.message) < 1_000


@pytest.mark.parametrize("query", [b"id=%ff", QUERY + b"&" + QUERY])
def test_a_query_string_that_cannot_be_read_is_refused(query: bytes) -> None:
    refusal(SerializationException, Request(query, set_to().body))


@pytest.mark.parametrize("member", ["weeklyOperatingHours", "holidaySchedule"])
@pytest.mark.parametrize(
    ("times", "advice"),
    [
        ([((9, 0), (9, 0))], "begin before"),
        ([((9, 1), (9, 0))], "begin before"),
        ([((22, 0), (2, 0))], "begin before"),
        ([((8, 0), (12, 0)), ((11, 59), (13, 0))], "overlap"),
        ([((10, 0), (11, 0)), ((8, 0), (12, 0))], "overlap"),
        ([((8, 0), (9, 0))] * 2, "overlap"),
        ([((8, 0), (9, 0)), ((9, 0), (10, 0)), ((10, 0), (11, 0))], "2 entries"),
    ],
)
def test_hours_that_meta_documents_to_refuse_are_refused(member: str, times: list[Any], advice: str) -> None:
    day = "FRIDAY" if member == "weeklyOperatingHours" else "2028-12-24"
    message = refusal(InvalidParametersException, with_hours(**{member: [at(day, *pair) for pair in times]}))
    assert advice in message
    assert member in message


@pytest.mark.parametrize("day", ["2027-02-29", "2028-13-01", "2028-00-01", "0000-01-01", "9999-99-99"])
def test_a_date_that_is_none_is_refused(day: str) -> None:
    assert day in refusal(InvalidParametersException, with_hours(holidaySchedule=[HOLIDAY | {"date": day}]))


# --- the model


@pytest.mark.parametrize(
    ("shape", "constraint"),
    [
        ("WhatsAppPhoneNumberId", constraints.PHONE_NUMBER_ID),
        ("IanaTimezone", calling.TIMEZONE),
        ("WhatsAppCallIconVisibility", calling.CHOICE),
        ("WhatsAppCallbackPermissionStatus", calling.CHOICE),
        ("WhatsAppDayOfWeek", calling.DAY_OF_WEEK),
        ("WhatsAppDate", calling.DATE),
    ],
)
def test_a_constraint_is_the_models(shape: str, constraint: Constraint) -> None:
    metadata = MODEL.shape_for(shape).metadata
    assert (constraint.least, constraint.most) == (metadata.get("min", 0), metadata.get("max"))
    assert constraint.pattern == metadata.get("pattern")
    assert list(constraint.values) == metadata.get("enum", [])
    assert constraint.sensitive == metadata.get("sensitive", False)


@pytest.mark.parametrize(
    ("shape", "most"),
    [
        ("WhatsAppWeeklyOperatingHoursList", calling.MOST_WEEKLY),
        ("WhatsAppHolidayScheduleList", calling.MOST_HOLIDAYS),
        ("WhatsAppTimeOfDayHoursInteger", calling.LAST_HOUR),
        ("WhatsAppTimeOfDayMinutesInteger", calling.LAST_MINUTE),
    ],
)
def test_a_bound_is_the_models(shape: str, most: int) -> None:
    metadata = MODEL.shape_for(shape).metadata
    assert (metadata["min"], metadata["max"]) == (0, most)


@pytest.mark.parametrize(
    ("shape", "struct", "required"),
    [
        ("WhatsAppCallSettings", calling._Settings, {"callEnabled"}),
        ("WhatsAppCallHours", calling._Hours, {"enabled", "timezone", "weeklyOperatingHours"}),
        ("WhatsAppWeeklyOperatingHoursEntry", calling._Weekly, {"dayOfWeek", "openTime", "closeTime"}),
        ("WhatsAppHolidayScheduleEntry", calling._Holiday, {"date", "startTime", "endTime"}),
        ("WhatsAppTimeOfDay", calling._Time, {"hours", "minutes"}),
        (OPERATION.output_shape.name, calling._UpdateNumberAnswer, {"phoneNumberId"}),
    ],
)
def test_the_members_are_those_of_the_model(shape: str, struct: Any, required: set[str]) -> None:
    found = MODEL.shape_for(shape)
    assert (set(found.members), set(found.required_members)) == (set(struct.__struct_encode_fields__), required)


def test_the_operation_has_no_member_that_is_not_read() -> None:
    shape = OPERATION.input_shape
    assert set(shape.members) == set(shape.required_members) == {"id", "callSettings"}
    assert shape.members["id"].serialization["location"] == "querystring"
