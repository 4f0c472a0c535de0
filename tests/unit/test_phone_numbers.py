"""Call settings: what Meta would refuse, what is sent to it, and what becomes of its answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from harness.loopback import BREAK, Answer, Loopback, Received, reply
from harness.operations import components, number_call
from whaul.api.service import SHAPES
from whaul.errors import (
    ApiError,
    DependencyException,
    InvalidParametersException,
    ResourceNotFoundException,
    Retry,
)
from whaul.graph.client import GraphClient, appsecret_proof
from whaul.model import GraphToken
from whaul.operations.phone_numbers import check_hours, update_number
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts

TOKEN, APP_SECRET = SecretStr("EAAGm0PX4ZCpsBAKs3cr3t"), SecretStr("0123456789abcdef0123456789abcdef")
ACCESS = GraphToken(TOKEN)
OFF = {"callEnabled": False}


def opening(names: str, day: str, start: tuple[int, int], end: tuple[int, int]) -> dict[str, Any]:
    times = ({"hours": hours, "minutes": minutes} for hours, minutes in (start, end))
    return dict(zip(names.split(), (day, *times), strict=True))


WEEK = [
    opening("dayOfWeek openTime closeTime", "MONDAY", (4, 0), (10, 20)),
    opening("dayOfWeek openTime closeTime", "TUESDAY", (1, 8), (10, 20)),
]
HOLIDAYS = [opening("date startTime endTime", "2026-01-01", (0, 0), (23, 59))]


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


async def changed(http: HttpClient, settings: dict[str, Any], answer: Answer, token: GraphToken = ACCESS) -> Received:
    async with Loopback(answer) as server:
        graph = GraphClient(
            http, url=server.url, version="v25.0", user_agent="whaul/test", media_hosts=MediaHosts(["127.0.0.1"])
        )
        await update_number(number_call({"callSettings": settings}, components(graph=graph), token))
        (request,) = server.requests
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert request.headers["authorization"] == f"Bearer {TOKEN.get_secret_value()}"
    return request


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (OFF, {"status": "DISABLED"}),
        (
            {"callEnabled": True, "callHours": None, "callIconVisibility": "DEFAULT"},
            {"status": "ENABLED", "call_icon_visibility": "DEFAULT"},
        ),
        (
            {
                "callEnabled": True,
                "callHours": {"enabled": False, "timezone": "Asia/Singapore", "weeklyOperatingHours": WEEK[:1]},
                "callbackPermissionStatus": "DISABLED",
            },
            {
                "status": "ENABLED",
                "callback_permission_status": "DISABLED",
                "call_hours": {
                    "status": "DISABLED",
                    "timezone_id": "Asia/Singapore",
                    "weekly_operating_hours": [{"day_of_week": "MONDAY", "open_time": "0400", "close_time": "1020"}],
                    "holiday_schedule": [],
                },
            },
        ),
        (  # the example of Meta's page
            {
                "callEnabled": True,
                "callHours": {
                    "enabled": True,
                    "timezone": "America/Manaus",
                    "weeklyOperatingHours": WEEK,
                    "holidaySchedule": HOLIDAYS,
                },
                "callIconVisibility": "DEFAULT",
                "callbackPermissionStatus": "ENABLED",
            },
            {
                "status": "ENABLED",
                "call_icon_visibility": "DEFAULT",
                "call_hours": {
                    "status": "ENABLED",
                    "timezone_id": "America/Manaus",
                    "weekly_operating_hours": [
                        {"day_of_week": "MONDAY", "open_time": "0400", "close_time": "1020"},
                        {"day_of_week": "TUESDAY", "open_time": "0108", "close_time": "1020"},
                    ],
                    "holiday_schedule": [{"date": "2026-01-01", "start_time": "0000", "end_time": "2359"}],
                },
                "callback_permission_status": "ENABLED",
            },
        ),
    ],
)
@pytest.mark.anyio
async def test_settings_are_sent_as_meta_documents_them(
    http: HttpClient, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    request = await changed(http, settings, reply(200, {"success": True}))
    assert request.target == "/v25.0/4711/settings"
    assert json.loads(request.body) == {"calling": expected}


@pytest.mark.anyio
async def test_a_proof_goes_along_when_there_is_an_app_secret(http: HttpClient) -> None:
    request = await changed(http, OFF, reply(200, {"success": True}), GraphToken(TOKEN, APP_SECRET))
    assert request.target == f"/v25.0/4711/settings?appsecret_proof={appsecret_proof(TOKEN, APP_SECRET)}"


@pytest.mark.parametrize(
    ("answer", "expected", "retry"),
    [
        (BREAK, DependencyException, Retry.YES),
        (reply(500, {"error": {"code": 131000}}), DependencyException, Retry.YES),
        (reply(200, b"nonsense"), DependencyException, Retry.YES),
        (reply(200, {}), DependencyException, Retry.YES),
        (reply(200, {"success": False}), DependencyException, Retry.NO),
        (reply(400, {"error": {"code": 100}}), DependencyException, Retry.NO),
        (reply(400, {"error": {"code": 100, "error_subcode": 33}}), ResourceNotFoundException, Retry.NO),
    ],
)
@pytest.mark.anyio
async def test_what_may_pass_is_tried_again_since_settings_can_be_set_twice(
    http: HttpClient, answer: Answer, expected: type[ApiError], retry: Retry
) -> None:
    with pytest.raises(ApiError) as caught:
        await changed(http, OFF, answer)
    assert (type(caught.value), caught.value.retry) == (expected, retry)
    assert "call settings" in caught.value.message


# --- hours that Meta would refuse


def entry(day: str, start: tuple[int, int], end: tuple[int, int]) -> dict[str, Any]:
    names = "dayOfWeek openTime closeTime" if day.isalpha() else "date startTime endTime"
    return opening(names, day, start, end)


def hours_refused(**schedules: Any) -> str:
    hours = {"enabled": True, "timezone": "America/New_York", "weeklyOperatingHours": []} | schedules
    with pytest.raises(InvalidParametersException) as caught:
        check_hours({"callSettings": {"callEnabled": True, "callHours": hours}})
    return caught.value.message


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
    message = hours_refused(**{member: [entry(day, *pair) for pair in times]})
    assert advice in message
    assert member in message


@pytest.mark.parametrize("day", ["2027-02-29", "2028-13-01", "2028-00-01", "0000-01-01", "9999-99-99"])
def test_a_date_that_is_none_is_refused(day: str) -> None:
    assert day in hours_refused(holidaySchedule=[entry(day, (9, 0), (10, 0))])


@pytest.mark.parametrize("hours", [None, {"enabled": False, "timezone": "UTC", "weeklyOperatingHours": []}])
def test_hours_may_be_empty_or_missing(hours: dict[str, Any] | None) -> None:
    check_hours({"callSettings": {"callEnabled": True, "callHours": hours}})


def test_a_day_may_have_a_break_and_a_week_all_its_entries() -> None:
    days = SHAPES["WhatsAppDayOfWeek"].enum
    week = [entry(day, *times) for day in days for times in (((13, 0), (17, 30)), ((8, 0), (13, 0)))]
    assert len(week) == SHAPES["WhatsAppWeeklyOperatingHoursList"].max
    hours = {"enabled": True, "timezone": "UTC", "weeklyOperatingHours": week, "holidaySchedule": None}
    check_hours({"callSettings": {"callEnabled": True, "callHours": hours}})
