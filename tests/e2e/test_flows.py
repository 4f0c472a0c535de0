"""The operations on flows with boto3: what Meta has of a flow, in AWS's words, and only of the named account."""

import json
from typing import Any

import pytest

from harness.world import Gateway
from whaul.simulator import Simulator


def account_id(gateway: Gateway) -> str:
    return str(gateway.client().list_linked_whatsapp_business_accounts()["linkedAccounts"][0]["id"])


def flow(gateway: Gateway, id_: str) -> Any:
    answer = gateway.client().get_whatsapp_flow(id=account_id(gateway), flowId=id_)
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def test_a_flow_comes_with_all_that_the_model_knows_of_it(gateway: Gateway, simulator: Simulator) -> None:
    error = {"error": "INVALID_PROPERTY", "line_start": 2, "pointers": [{"json_path": "screens"}]}
    entity = {"entity_type": "FLOW", "id": "42", "can_send_message": "BLOCKED"}
    id_ = simulator.add_flow(
        "Sign up",
        status="PUBLISHED",
        categories=["SIGN_UP", "OTHER"],
        validation_errors=[error],
        json_version="7.3",
        data_api_version="3.0",
        endpoint_uri="https://example.com/flow",
        preview={"preview_url": "https://example.com/preview", "expires_at": "2026-07-01T23:46:55+0000"},
        application={"id": "7", "name": "An app", "link": "https://example.com"},
        health_status={"can_send_message": "BLOCKED", "entities": [entity | {"errors": [{"error_code": 141000}]}]},
    )
    found = flow(gateway, id_)
    assert [json.loads(text) for text in found.pop("validationErrors")] == [error]
    assert found.pop("whatsAppBusinessAccount") == {
        "id": simulator.waba_id,
        "name": "Whaul Harbour (simulated)",
        "currency": "USD",
        "timezoneId": "1",
        "messageTemplateNamespace": "00000000_0000_4000_8000_000000000001",
    }
    assert found == {
        "flowId": id_,
        "flowName": "Sign up",
        "flowStatus": "PUBLISHED",
        "categories": ["SIGN_UP", "OTHER"],
        "jsonVersion": "7.3",
        "dataApiVersion": "3.0",
        "endpointUri": "https://example.com/flow",
        "preview": {"previewUrl": "https://example.com/preview", "expiresAt": "2026-07-01T23:46:55+0000"},
        "application": {"id": "7", "name": "An app", "link": "https://example.com"},
        "healthStatus": {
            "canSendMessage": "BLOCKED",
            "entities": [{"entityType": "FLOW", "id": "42", "canSendMessage": "BLOCKED"}],
        },
    }


def test_what_meta_leaves_out_is_left_out(gateway: Gateway, simulator: Simulator) -> None:
    id_ = simulator.add_flow("Survey", whatsapp_business_account={"id": simulator.waba_id})
    found = flow(gateway, id_)
    assert (found["validationErrors"], found["whatsAppBusinessAccount"]["name"]) == ([], "")
    assert not {"jsonVersion", "dataApiVersion", "endpointUri", "application"} & found.keys()


def test_a_flow_of_another_account_is_not_there(gateway: Gateway, simulator: Simulator) -> None:
    missing = gateway.client().exceptions.ResourceNotFoundException
    stranger = simulator.add_flow("Secret", whatsapp_business_account={"id": "400000000000009"})
    for id_ in (stranger, "999"):
        with pytest.raises(missing) as caught:
            flow(gateway, id_)
        assert "Secret" not in str(caught.value)


def test_reading_a_flow_needs_its_own_action_on_the_account(gateway: Gateway, simulator: Simulator) -> None:
    id_, waba = simulator.add_flow("Survey"), account_id(gateway)
    arn = gateway.client().get_linked_whatsapp_business_account(id=waba)["account"]["arn"]
    for action, resource, is_allowed in (
        ("GetWhatsAppFlow", arn, True),
        ("GetWhatsAppFlow", f"{arn[:-1]}{'0' if arn[-1] != '0' else '1'}", False),
        ("ListWhatsAppFlows", arn, False),
    ):
        statement = {"Effect": "Allow", "Action": f"social-messaging:{action}", "Resource": resource}
        client = gateway.client(gateway.world.key_with_policy(statement))
        if is_allowed:
            assert client.get_whatsapp_flow(id=waba, flowId=id_)["flowName"] == "Survey"
        else:
            with pytest.raises(client.exceptions.AccessDeniedException):
                client.get_whatsapp_flow(id=waba, flowId=id_)


def test_a_flow_that_is_not_as_documented_is_not_guessed(gateway: Gateway, simulator: Simulator) -> None:
    id_ = simulator.add_flow("Survey")
    simulator.fault(id_, kind="wrong_json", drop=["status"], times=1)
    assert flow(gateway, id_)["flowStatus"] == "DRAFT"  # asked again
    simulator.fault(id_, kind="wrong_json", drop=["whatsapp_business_account"])
    with pytest.raises(gateway.client().exceptions.DependencyException):
        flow(gateway, id_)
