"""What is set for calls and flows at the simulator: checked as Meta documents, kept, and shown."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.client import Reply
from harness.simulator_client import MISSING, Client, running

NUMBER = "500000000000001"
MONDAY = {"day_of_week": "MONDAY", "open_time": "0400", "close_time": "1020"}
HOLIDAY = {"date": "2028-01-01", "start_time": "0000", "end_time": "2359"}
HOURS = {"status": "ENABLED", "timezone_id": "America/Manaus", "weekly_operating_hours": [MONDAY]}
NOT_SET = dict.fromkeys(("status", "call_icon_visibility", "callback_permission_status"), "NOT_SET")


@pytest.fixture
def client() -> Iterator[Client]:
    with running() as client:
        yield client


def change(client: Client, calling: Any, number: str = NUMBER) -> Reply:
    return client.graph(f"{number}/settings", "POST", body=json.dumps({"calling": calling}).encode())


def shown(client: Client, number: str = NUMBER) -> Any:
    return client.graph(f"{number}/settings").json()["calling"]


def test_nothing_is_set_at_first_and_after_a_reset(client: Client) -> None:
    assert shown(client) == NOT_SET
    change(client, {"status": "ENABLED"})
    client.sim.reset()
    assert shown(client) == NOT_SET


def test_what_is_set_is_shown_and_the_rest_stays(client: Client) -> None:
    first = {"status": "ENABLED", "call_icon_visibility": "DISABLE_ALL", "audio": {"additional_codecs": ["PCMA"]}}
    assert change(client, first).json() == {"success": True}
    assert change(client, {"callback_permission_status": "DISABLED"}).json() == {"success": True}
    expected = first | {"callback_permission_status": "DISABLED"}
    assert shown(client) == expected
    assert shown(client, "500000000000002") == NOT_SET
    (number, _) = client.sim.phone_numbers
    assert number.calling == expected
    assert client.control("GET", "state").json()["phone_numbers"][0]["calling"] == expected


def test_hours_are_replaced_as_a_whole_with_their_holidays(client: Client) -> None:
    change(client, {"call_hours": HOURS | {"holiday_schedule": [HOLIDAY]}})
    assert shown(client)["call_hours"]["holiday_schedule"] == [HOLIDAY]
    change(client, {"call_hours": HOURS | {"status": "DISABLED"}})
    assert shown(client)["call_hours"] == HOURS | {"status": "DISABLED", "holiday_schedule": []}


@pytest.mark.parametrize(
    "calling",
    [
        None,
        [],
        {"status": "enabled"},
        {"status": None},
        {"call_icon_visibility": "ALL"},
        {"callback_permission_status": True},
        {"call_hours": None},
        {"call_hours": {}},
        *(
            {"call_hours": HOURS | change}
            for change in (
                {"status": "ON"},
                {"timezone_id": ""},
                {"timezone_id": "New York"},
                {"timezone_id": 1},
                {"weekly_operating_hours": []},
                {"weekly_operating_hours": {}},
                {"weekly_operating_hours": [1]},
                {"weekly_operating_hours": [MONDAY | {"day_of_week": "monday"}]},
                {"weekly_operating_hours": [MONDAY | {"open_time": 400}]},
                {"weekly_operating_hours": [MONDAY | {"open_time": "04:00"}]},
                {"weekly_operating_hours": [MONDAY | {"close_time": "2400"}]},
                {"weekly_operating_hours": [MONDAY | {"close_time": "0400"}]},
                {"weekly_operating_hours": [MONDAY, MONDAY]},
                {
                    "weekly_operating_hours": [
                        MONDAY,
                        MONDAY | {"open_time": "1100", "close_time": "1200"},
                        MONDAY | {"open_time": "1300", "close_time": "1400"},
                    ]
                },
                {"holiday_schedule": {}},
                {"holiday_schedule": [{"date": "2028-01-01"}]},
                {"holiday_schedule": [HOLIDAY | {"date": "20280101"}]},
                {"holiday_schedule": [HOLIDAY | {"date": "2027-02-29"}]},
                {"holiday_schedule": [HOLIDAY | {"date": "2027-01-14"}]},  # its clock stands at 2027-01-15
                {"holiday_schedule": [HOLIDAY | {"date": f"2028-01-{day:02}"} for day in range(1, 22)]},
            )
        ),
    ],
)
def test_what_meta_documents_to_refuse_is_refused_and_nothing_is_set(client: Client, calling: Any) -> None:
    refused = change(client, calling)
    assert (refused.status, refused.error["code"]) == (400, 100)
    assert shown(client) == NOT_SET


def test_a_holiday_of_today_is_taken(client: Client) -> None:
    hours = HOURS | {"holiday_schedule": [HOLIDAY | {"date": "2027-01-15"}]}
    assert change(client, {"call_hours": hours}).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}"])
def test_a_body_without_settings_is_refused(client: Client, body: bytes) -> None:
    assert client.graph(f"{NUMBER}/settings", "POST", body=body).error["code"] == 100


def test_only_numbers_have_settings(client: Client) -> None:
    for id_ in (MISSING, client.sim.waba_id):
        assert change(client, {"status": "ENABLED"}, id_).error["error_subcode"] == 33
        assert client.graph(f"{id_}/settings").error["error_subcode"] == 33
    assert client.graph(f"{NUMBER}/settings", "DELETE").error["code"] == 2500


def test_a_change_is_a_hop_of_its_own_and_a_look_is_metadata(client: Client) -> None:
    client.sim.fault(NUMBER, kind="error", code=131016, hop="settings", times=1)
    assert change(client, {"status": "ENABLED"}).error["code"] == 131016
    assert shown(client) == NOT_SET
    change(client, {"status": "ENABLED"})
    assert (client.sim.count(NUMBER)["settings"], client.sim.count(NUMBER)["metadata"]) == (2, 1)
    client.sim.fault(NUMBER, kind="wrong_json", body={})
    assert client.graph(f"{NUMBER}/settings").json() == {}


def test_a_change_needs_the_token(client: Client) -> None:
    assert client.graph(f"{NUMBER}/settings", "POST", body=b"{}", token="wrong").error["code"] == 190
    assert client.graph(f"{NUMBER}/settings", token=None).error["code"] == 104


def test_a_person_permits_calls_by_their_number_however_it_is_written(client: Client) -> None:
    assert client.control("POST", "call-permissions", {"user": "+1 555-0100"}).status == 201
    found = client.graph(f"{NUMBER}/call_permissions?user_wa_id=15550100").json()
    assert found["permission"]["status"] == "temporary"
    assert client.control("POST", "calls", {"user": "nobody"}).status == 400


def test_a_public_key_comes_as_a_form_or_as_json_and_is_to_be_put_again_after_a_registration(client: Client) -> None:
    edge, public_key = f"{NUMBER}/whatsapp_business_encryption", RSAPublicNumbers(65537, 2**2048 - 1).public_key()
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    key = {"business_public_key": pem}

    def status() -> Any:
        return client.graph(edge).json()["data"][0]["business_public_key_signature_status"]

    for kind, body in (("application/x-www-form-urlencoded", urlencode(key)), ("application/json", json.dumps(key))):
        assert client.graph(edge, "POST", body=body.encode(), content_type=kind).json() == {"success": True}
        assert status() == "VALID"
        registration = {"messaging_product": "whatsapp", "pin": "123456"}
        client.graph(f"{NUMBER}/register", "POST", body=json.dumps(registration).encode())
        assert status() == "MISMATCH"
