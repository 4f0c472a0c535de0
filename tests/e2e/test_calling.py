"""UpdateLinkedWhatsAppBusinessAccountPhoneNumber with boto3: how a number takes calls, set at the simulated Meta."""

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.test_audit_log import records
from harness.error_rows import fails, shows
from harness.waiting import eventually
from harness.world import Gateway, World
from whaul.simulator import Simulator

UPDATE_PATH = "/v1/whatsapp/waba/phone"
NINE, NOON, FIVE = ({"hours": hours, "minutes": 0} for hours in (9, 12, 17))
MONDAY = {"dayOfWeek": "MONDAY", "openTime": NINE, "closeTime": FIVE}
HOURS = {"enabled": True, "timezone": "America/New_York", "weeklyOperatingHours": [MONDAY]}
HOLIDAY = {"date": "2999-12-24", "startTime": NINE, "endTime": NOON}
EVERYTHING = {
    "callEnabled": True,
    "callHours": HOURS | {"holidaySchedule": [HOLIDAY]},
    "callIconVisibility": "DEFAULT",
    "callbackPermissionStatus": "ENABLED",
}


def update(gateway: Gateway, *, number: str | None = None, **settings: Any) -> Any:
    return gateway.client().update_linked_whatsapp_business_account_phone_number(
        id=number or gateway.world.phone_number_id, callSettings={"callEnabled": True} | settings
    )


def refusal(code: str, gateway: Gateway, **settings: Any) -> str:
    with pytest.raises(getattr(gateway.client().exceptions, code)) as caught:
        update(gateway, **settings)
    return str(caught.value.response["Error"]["Message"])


def test_everything_arrives_at_meta(gateway: Gateway, simulator: Simulator) -> None:
    answer = update(gateway, **EVERYTHING)
    assert answer["phoneNumberId"] == gateway.world.phone_number_id
    first, second = simulator.phone_numbers
    assert first.calling == {
        "status": "ENABLED",
        "call_icon_visibility": "DEFAULT",
        "callback_permission_status": "ENABLED",
        "call_hours": {
            "status": "ENABLED",
            "timezone_id": "America/New_York",
            "weekly_operating_hours": [{"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1700"}],
            "holiday_schedule": [{"date": "2999-12-24", "start_time": "0900", "end_time": "1200"}],
        },
    }
    assert second.calling == {}
    line = gateway.logged(answer)
    assert line["operation"] == "UpdateLinkedWhatsAppBusinessAccountPhoneNumber"
    assert line["phone_number_id"] == gateway.world.phone_number_id


def test_what_is_left_out_stays_but_for_the_holidays(gateway: Gateway, simulator: Simulator) -> None:
    update(gateway, **EVERYTHING)
    before = dict(simulator.phone_numbers[0].calling)
    answer = update(gateway, number=gateway.world.phone_number_arn, callEnabled=False)
    assert answer["phoneNumberId"] == gateway.world.phone_number_id
    assert simulator.phone_numbers[0].calling == before | {"status": "DISABLED"}
    update(gateway, callHours=HOURS)
    assert simulator.phone_numbers[0].calling["call_hours"] == before["call_hours"] | {"holiday_schedule": []}


@shows("request: call hours that are not possible")
def test_hours_that_are_not_possible_are_refused_before_meta_is_asked(gateway: Gateway, simulator: Simulator) -> None:
    for hours in (
        {"weeklyOperatingHours": [MONDAY | {"openTime": FIVE}]},
        {"weeklyOperatingHours": [MONDAY, MONDAY | {"openTime": NOON}]},
        {"holidaySchedule": [HOLIDAY | {"date": "2999-02-29"}]},
    ):
        fails(
            gateway,
            "request: call hours that are not possible",
            lambda hours=hours: update(gateway, callHours=HOURS | hours),  # type: ignore[misc]
        )
    assert simulator.requests == []


@pytest.mark.parametrize(
    "settings",
    [
        {"callIconVisibility": "SOMETIMES"},
        {"callbackPermissionStatus": "PERHAPS"},
        {"callHours": HOURS | {"weeklyOperatingHours": []}},
        {"callHours": HOURS | {"timezone": "New York"}},
        {"callHours": HOURS | {"holidaySchedule": [HOLIDAY | {"date": "2001-12-24"}]}},
    ],
)
def test_what_only_meta_can_judge_is_metas_to_refuse(
    gateway: Gateway, simulator: Simulator, settings: dict[str, Any]
) -> None:
    assert "code 100" in refusal("DependencyException", gateway, **settings)
    assert simulator.count(simulator.phone_numbers[0].id)["settings"] == 1
    assert simulator.phone_numbers[0].calling == {}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset"},
        {"kind": "truncate", "at": 5},
        {"kind": "error", "code": 131000},
        {"kind": "status", "status": 502},
        {"kind": "not_json"},
        {"kind": "rate_limit", "code": 80008, "regain_minutes": 0},
    ],
)
def test_a_change_that_met_a_passing_fault_is_made_again(
    gateway: Gateway, simulator: Simulator, fault: dict[str, Any]
) -> None:
    simulator.fault(hop="settings", times=2, **fault)
    update(gateway, callIconVisibility="DISABLE_ALL")
    assert simulator.phone_numbers[0].calling == {"status": "ENABLED", "call_icon_visibility": "DISABLE_ALL"}
    assert simulator.count(simulator.phone_numbers[0].id)["settings"] == 3


def test_a_meta_that_stays_silent_is_waited_for_until_the_deadline(
    brief_gateway: Gateway, simulator: Simulator
) -> None:
    simulator.fault(hop="settings", kind="stall")
    assert "WHAUL_DEADLINE" in refusal("DependencyException", brief_gateway)


@pytest.mark.parametrize(
    ("code", "subcode", "expected"),
    [
        (190, 463, "AccessDeniedByMetaException"),
        (10, None, "AccessDeniedByMetaException"),
        (100, None, "DependencyException"),
        (100, 33, "ResourceNotFoundException"),
        (138013, None, "InvalidParametersException"),
        (4, None, "ThrottledRequestException"),
    ],
)
def test_metas_errors_come_through_the_same_table(
    brief_gateway: Gateway, simulator: Simulator, code: int, subcode: int | None, expected: str
) -> None:
    simulator.fault(hop="settings", kind="error", code=code, subcode=subcode, regain_minutes=60)
    assert f"code {code}" in refusal(expected, brief_gateway)
    assert simulator.count(simulator.phone_numbers[0].id)["settings"] == 1


@pytest.mark.usefixtures("simulator")
def test_a_policy_for_one_number_says_nothing_of_another(gateway: Gateway) -> None:
    world = gateway.world
    action = "social-messaging:UpdateLinkedWhatsAppBusinessAccountPhoneNumber"
    key = world.key_with_policy({"Effect": "Allow", "Action": action, "Resource": world.phone_number_arn})
    client = gateway.client(key)
    settings = {"callEnabled": False}
    client.update_linked_whatsapp_business_account_phone_number(id=world.phone_number_id, callSettings=settings)
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.update_linked_whatsapp_business_account_phone_number(
            id=world.other_phone_number_id, callSettings=settings
        )


def test_a_request_that_boto3_would_not_send_is_refused(gateway: Gateway, simulator: Simulator) -> None:
    target = f"{UPDATE_PATH}?id={gateway.world.phone_number_id}"
    for body, code in (
        (b"[]", "SerializationException"),
        (b'{"callSettings": {"callEnabled": "yes"}}', "SerializationException"),
        (b"{}", "ValidationException"),
        (json.dumps({"callSettings": {"callEnabled": True, "callHours": {}}}).encode(), "ValidationException"),
    ):
        assert gateway.send("PUT", target, body, sign_with=gateway.world.key).code == code
    assert gateway.send("PUT", target, b"{}").code == "MissingAuthenticationTokenException"
    assert simulator.requests == []


@pytest.mark.usefixtures("simulator")
def test_a_change_is_recorded_with_what_was_set(world: World, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    with world.gateway(WHAUL_AUDIT_LOG=str(log)) as gateway:
        update(gateway, **EVERYTHING)
        eventually(lambda: len(records(log)) == 1)
    (record,) = records(log)
    assert record["eventName"] == "UpdateLinkedWhatsAppBusinessAccountPhoneNumber"
    assert record["requestParameters"] == {"id": world.phone_number_id, "callSettings": EVERYTHING}
    assert record["responseElements"] == {"phoneNumberId": world.phone_number_id}
    assert record["resources"][0]["ARN"] == world.phone_number_arn
    assert (record["readOnly"], record["eventCategory"]) == (False, "Management")
