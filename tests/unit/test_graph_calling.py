"""Call settings to Meta: what is sent, what is left as it is, and what becomes of the answers."""

import json
from collections.abc import AsyncIterator
from datetime import time
from typing import Any

import pytest
from pydantic import SecretStr

from harness.loopback import BREAK, Answer, Loopback, Received, reply
from whaul.errors import ApiError, DependencyException, ResourceNotFoundException, Retry
from whaul.graph.calls import appsecret_proof
from whaul.graph.client import GraphClient
from whaul.model import CallHours, CallSettings, GraphToken, OpenHours
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts

pytestmark = pytest.mark.anyio

TOKEN, APP_SECRET = SecretStr("EAAGm0PX4ZCpsBAKs3cr3t"), SecretStr("0123456789abcdef0123456789abcdef")
ACCESS = GraphToken(TOKEN)
OFF = CallSettings(False, None, None, None)
WEEK = (OpenHours("MONDAY", time(4, 0), time(10, 20)), OpenHours("TUESDAY", time(1, 8), time(10, 20)))
HOLIDAYS = (OpenHours("2026-01-01", time(0, 0), time(23, 59)),)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


async def changed(http: HttpClient, settings: CallSettings, answer: Answer, token: GraphToken = ACCESS) -> Received:
    async with Loopback(answer) as server:
        graph = GraphClient(
            http, url=server.url, version="v25.0", user_agent="whaul/test", media_hosts=MediaHosts(["127.0.0.1"])
        )
        await graph.change_calling(token, "4711", settings)
        (request,) = server.requests
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert request.headers["authorization"] == f"Bearer {TOKEN.get_secret_value()}"
    return request


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (OFF, {"status": "DISABLED"}),
        (
            CallSettings(True, None, "DEFAULT", None),
            {"status": "ENABLED", "call_icon_visibility": "DEFAULT"},
        ),
        (
            CallSettings(True, CallHours(False, "Asia/Singapore", WEEK[:1], ()), None, "DISABLED"),
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
            CallSettings(True, CallHours(True, "America/Manaus", WEEK, HOLIDAYS), "DEFAULT", "ENABLED"),
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
async def test_settings_are_sent_as_meta_documents_them(
    http: HttpClient, settings: CallSettings, expected: dict[str, Any]
) -> None:
    request = await changed(http, settings, reply(200, {"success": True}))
    assert request.target == "/v25.0/4711/settings"
    assert json.loads(request.body) == {"calling": expected}


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
async def test_what_may_pass_is_tried_again_since_settings_can_be_set_twice(
    http: HttpClient, answer: Answer, expected: type[ApiError], retry: Retry
) -> None:
    with pytest.raises(ApiError) as caught:
        await changed(http, OFF, answer)
    assert (type(caught.value), caught.value.retry) == (expected, retry)
    assert "call settings" in caught.value.message
