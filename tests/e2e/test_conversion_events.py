"""Data sets and conversion events with boto3, against the simulator."""

import json
from typing import Any

import pytest

from harness.world import Gateway
from whaul.simulator import Simulator


@pytest.fixture
def waba(gateway: Gateway) -> str:
    return str(gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]["id"])


def event_of(simulator: Simulator, **members: Any) -> dict[str, Any]:
    user = {"whatsapp_business_account_id": simulator.waba_id, "ctwa_clid": "ARAkLkA8rmlFeiCktEJQ-QTwRiyYHAFDLMNDBH0"}
    return {
        "event_name": "Purchase",
        "event_time": int(simulator.state.now()) - 60,
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": user,
        "custom_data": {"currency": "EUR", "value": 12.30},
        **members,
    }


def test_an_account_has_one_data_set_and_events_go_into_it(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    client = gateway.client()
    dataset = client.create_whatsapp_dataset(id=waba)["datasetId"]
    assert client.create_whatsapp_dataset(id=waba)["datasetId"] == dataset
    event = event_of(simulator)
    for data in (event, [event], {"data": [event], "partner_agent": "x"}):
        before = len(simulator.conversion_events)
        sent = client.send_whatsapp_conversion_event(id=waba, datasetId=dataset, eventData=json.dumps(data).encode())
        assert sent["requestId"].startswith("A")
        assert simulator.conversion_events[before:] == [{"dataset_id": dataset, **event}]


@pytest.mark.parametrize("data", [b"x", b"{}", b"[]", b'{"data": []}', b'{"data": 1}', b'"event_name"'])
def test_what_is_no_event_is_refused_before_meta_sees_it(gateway: Gateway, waba: str, data: bytes) -> None:
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match="eventData must be JSON"):
        gateway.client().send_whatsapp_conversion_event(id=waba, datasetId="1234567890", eventData=data)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"event_name": "Lead"}, "LeadSubmitted"),
        ({"user_data": {"ctwa_clid": "x"}}, "compare it with what Meta documents.*manage_events"),
    ],
)
def test_meta_s_refusals_of_an_event_say_what_is_wrong(
    gateway: Gateway, simulator: Simulator, waba: str, members: dict[str, Any], said: str
) -> None:
    dataset = gateway.client().create_whatsapp_dataset(id=waba)["datasetId"]
    data = json.dumps(event_of(simulator, **members)).encode()
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match=said):
        gateway.client().send_whatsapp_conversion_event(id=waba, datasetId=dataset, eventData=data)


def test_a_token_without_the_right_hears_of_it(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    simulator.configure(token_scopes=["whatsapp_business_management", "whatsapp_business_messaging"])
    try:
        with pytest.raises(gateway.client().exceptions.ResourceNotFoundException, match="manage_events"):
            gateway.client().create_whatsapp_dataset(id=waba)
    finally:
        simulator.configure(
            token_scopes=[
                "whatsapp_business_management",
                "whatsapp_business_messaging",
                "whatsapp_business_manage_events",
            ]
        )


def test_events_do_not_go_into_another_account_s_data_set(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    with pytest.raises(gateway.client().exceptions.ResourceNotFoundException, match="no data set"):
        gateway.client().send_whatsapp_conversion_event(
            id=waba, datasetId="1234567890", eventData=json.dumps(event_of(simulator)).encode()
        )
