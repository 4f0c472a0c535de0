"""The operations on flows with boto3: what Meta has of a flow, in AWS's words, and only of the named account."""

import json
from typing import Any
from urllib.request import Request, urlopen

import pytest

from harness.waiting import PATIENCE
from harness.world import Gateway
from whaul.simulator import Simulator
from whaul.simulator.state import OTHER_WABA_ID


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
        preview={"preview_url": "https://example.com/preview", "expires_at": "2099-07-01T23:46:55+0000"},
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
        "preview": {"previewUrl": "https://example.com/preview", "expiresAt": "2099-07-01T23:46:55+0000"},
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


FLOW_JSON = json.dumps({"version": "7.3", "screens": [{"id": "A", "title": "Grüße 🐋"}]}, ensure_ascii=False).encode()


@pytest.fixture
def waba(gateway: Gateway) -> str:
    return account_id(gateway)


def name_of(simulator: Simulator) -> str:
    return f"flow {len(simulator.state.flows)}"


def stranger_of(simulator: Simulator) -> str:
    """Add a flow that the token reaches, and the account has not."""
    return simulator.add_flow(name_of(simulator), whatsapp_business_account={"id": OTHER_WABA_ID})


def made(gateway: Gateway, simulator: Simulator, **members: Any) -> str:
    """Create a flow with boto3."""
    members = {"flowName": name_of(simulator), "categories": ["SURVEY"], "flowJson": FLOW_JSON} | members
    given = {name: value for name, value in members.items() if value is not None}
    answer = gateway.client().create_whatsapp_flow(id=account_id(gateway), **given)
    assert answer["validationErrors"] == []
    return str(answer["flowId"])


def test_a_flow_lives_from_draft_to_deprecated(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    client, one = gateway.client(), made(gateway, simulator)
    here = {"id": waba, "flowId": one}
    client.update_whatsapp_flow(**here, flowName="Renamed", categories=["OTHER", "SHOPPING"])
    client.publish_whatsapp_flow(**here)
    shown = flow(gateway, one)
    assert (shown["flowName"], shown["flowStatus"], shown["categories"]) == (
        "Renamed",
        "PUBLISHED",
        ["OTHER", "SHOPPING"],
    )
    assert shown["jsonVersion"] == "7.3"
    (asset,) = client.list_whatsapp_flow_assets(**here)["flowAssets"]
    assert (asset["name"], asset["assetType"]) == ("flow.json", "FLOW_JSON")
    with urlopen(asset["downloadUrl"], timeout=PATIENCE) as file:
        assert file.read() == FLOW_JSON
    client.deprecate_whatsapp_flow(**here)
    assert flow(gateway, one)["flowStatus"] == "DEPRECATED"
    with pytest.raises(client.exceptions.InvalidParametersException, match="Only a draft"):
        client.delete_whatsapp_flow(**here)
    with pytest.raises(client.exceptions.InvalidParametersException, match="published flow"):
        client.deprecate_whatsapp_flow(**here)


def test_a_published_flow_that_is_edited_is_a_draft_to_be_published_again(
    gateway: Gateway, simulator: Simulator, waba: str
) -> None:
    client, one = gateway.client(), made(gateway, simulator, publish=True)
    assert flow(gateway, one)["flowStatus"] == "PUBLISHED"
    changed = FLOW_JSON.replace(b"7.3", b"6.0")
    assert client.update_whatsapp_flow_assets(id=waba, flowId=one, flowJson=changed)["validationErrors"] == []
    assert (flow(gateway, one)["flowStatus"], flow(gateway, one)["jsonVersion"]) == ("DRAFT", "6.0")
    client.publish_whatsapp_flow(id=waba, flowId=one)
    assert flow(gateway, one)["flowStatus"] == "PUBLISHED"


def test_what_is_wrong_with_the_json_is_told_whole_and_keeps_the_flow_a_draft(
    gateway: Gateway, simulator: Simulator, waba: str
) -> None:
    client = gateway.client()
    wrong = b'{"version":"7.3",\n"colour":1}'
    answer = client.create_whatsapp_flow(
        id=waba, flowName=name_of(simulator), categories=["OTHER"], flowJson=wrong, publish=True
    )
    errors = [json.loads(text) for text in answer["validationErrors"]]
    assert [(one["error"], one["line_start"]) for one in errors] == [
        ("MISSING_REQUIRED_PROPERTY", 1),
        ("INVALID_PROPERTY_KEY", 2),
    ]
    shown = flow(gateway, answer["flowId"])
    assert (shown["flowStatus"], [json.loads(text) for text in shown["validationErrors"]]) == ("DRAFT", errors)
    with pytest.raises(client.exceptions.InvalidParametersException, match="validation errors"):
        client.publish_whatsapp_flow(id=waba, flowId=answer["flowId"])
    with pytest.raises(client.exceptions.InvalidParametersException, match="UTF-8"):
        client.update_whatsapp_flow_assets(id=waba, flowId=answer["flowId"], flowJson=b"\xff")
    client.delete_whatsapp_flow(id=waba, flowId=answer["flowId"])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        flow(gateway, answer["flowId"])


def test_json_that_meta_did_not_say_it_took_is_sent_again(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    one = made(gateway, simulator)
    simulator.fault(one, kind="wrong_json", drop=["success"], hop="settings", times=1)
    gateway.client().update_whatsapp_flow_assets(id=waba, flowId=one, flowJson=FLOW_JSON)
    assert simulator.count(one)["settings"] == 2


def test_a_flow_is_deprecated_by_an_edge_of_its_own_as_its_status_cannot_be_set(
    gateway: Gateway, simulator: Simulator, waba: str
) -> None:
    one = made(gateway, simulator, publish=True)
    gateway.client().deprecate_whatsapp_flow(id=waba, flowId=one)
    paths = [exchange.path for exchange in simulator.requests if exchange.object_id == one]
    assert [path for path in paths if path.endswith("/deprecate")]
    other = made(gateway, simulator, publish=True)
    request = Request(
        f"{simulator.url}/v25.0/{other}",
        b'{"status": "DEPRECATED"}',
        {"Authorization": f"Bearer {simulator.token}", "Content-Type": "application/json"},
    )
    with urlopen(request, timeout=PATIENCE) as answer:  # Meta knows no such parameter
        assert answer.status == 200
    assert flow(gateway, other)["flowStatus"] == "PUBLISHED"


def test_a_flow_of_another_account_is_not_cloned(gateway: Gateway, simulator: Simulator) -> None:
    mine = made(gateway, simulator)
    assert simulator.state.flows[made(gateway, simulator, flowJson=None, cloneFlowId=mine)].flow_json is not None
    stranger, before = stranger_of(simulator), len(simulator.state.flows)
    with pytest.raises(gateway.client().exceptions.ResourceNotFoundException):
        made(gateway, simulator, cloneFlowId=stranger)
    assert len(simulator.state.flows) == before


def test_a_large_flow_is_taken_whole(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    screens = [{"id": "A", "title": 'ü"\\' * 1_500_000}]
    large = json.dumps({"version": "7.3", "screens": screens}, ensure_ascii=False).encode()
    one = made(gateway, simulator)
    gateway.client().update_whatsapp_flow_assets(id=waba, flowId=one, flowJson=large)
    assert simulator.state.flows[one].flow_json == large.decode()
    other = made(gateway, simulator, flowJson=large)
    assert simulator.state.flows[other].flow_json == large.decode()


def test_what_meta_would_refuse_is_the_callers_to_mend(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    client, one = gateway.client(), made(gateway, simulator)
    taken = simulator.state.flows[one].name
    invalid = client.exceptions.InvalidParametersException
    with pytest.raises(invalid, match="compare it with what Meta documents"):
        made(gateway, simulator, flowName=taken)
    with pytest.raises(invalid):
        made(gateway, simulator, cloneFlowId=one, flowJson=b"{}")
    with pytest.raises(invalid, match="at least one of"):
        client.update_whatsapp_flow(id=waba, flowId=one)
    with pytest.raises(client.exceptions.ValidationException, match=r"categories\.1\.member"):
        made(gateway, simulator, categories=["HAIRCUT"])


def test_flows_come_page_by_page(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    ids = {simulator.add_flow(name_of(simulator)) for _ in range(5)}
    stranger = simulator.add_flow("Stranger", whatsapp_business_account={"id": OTHER_WABA_ID})
    pages = gateway.client().get_paginator("list_whatsapp_flows").paginate(id=waba, PaginationConfig={"PageSize": 2})
    found = [[one["flowId"] for one in page["flows"]] for page in pages]
    assert all(len(page) <= 2 for page in found)
    listed = {one for page in found for one in page}
    assert ids <= listed
    assert stranger not in listed
    token = gateway.client().list_whatsapp_flows(id=waba, maxResults=1)["nextToken"]
    for wrong in (f"{token[:-4]}AAA=", "x"):
        with pytest.raises(gateway.client().exceptions.ValidationException, match="nextToken"):
            gateway.client().list_whatsapp_flows(id=waba, nextToken=wrong)
    with pytest.raises(gateway.client().exceptions.ValidationException, match="nextToken"):  # of another list
        gateway.client().list_whatsapp_flow_assets(id=waba, flowId=next(iter(ids)), nextToken=token)
    paging = {"next": "https://graph.example/next", "cursors": {"after": "c" * 400}}
    simulator.fault(simulator.waba_id, kind="wrong_json", set={"paging": paging}, times=1)
    with pytest.raises(gateway.client().exceptions.DependencyException, match="longer than a nextToken"):
        gateway.client().list_whatsapp_flows(id=waba)
    simulator.fault("*", kind="error", code=100, hop="metadata", times=1)
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match="begin the list anew"):
        gateway.client().list_whatsapp_flows(id=waba, nextToken=token)


def test_a_preview_lasts_until_it_is_made_anew(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    one, client = simulator.add_flow(name_of(simulator)), gateway.client()
    links = [
        client.get_whatsapp_flow_preview(id=waba, flowId=one, **invalidate)["preview"]["previewUrl"]
        for invalidate in ({}, {"invalidate": False}, {"invalidate": True}, {})
    ]
    assert links[0] == links[1] != links[2] == links[3]


CALLS: dict[str, dict[str, Any]] = {
    "update_whatsapp_flow": {"flowName": "Mine"},
    "update_whatsapp_flow_assets": {"flowJson": FLOW_JSON},
    "list_whatsapp_flow_assets": {},
    "get_whatsapp_flow_preview": {},
    "publish_whatsapp_flow": {},
    "deprecate_whatsapp_flow": {},
    "delete_whatsapp_flow": {},
}


@pytest.mark.parametrize("name", CALLS)
def test_no_call_reaches_a_flow_of_another_account(
    gateway: Gateway, simulator: Simulator, waba: str, name: str
) -> None:
    stranger = stranger_of(simulator)
    with pytest.raises(gateway.client().exceptions.ResourceNotFoundException):
        getattr(gateway.client(), name)(id=waba, flowId=stranger, **CALLS[name])
    assert simulator.state.flows[stranger].status == "DRAFT"


@pytest.mark.parametrize(
    ("name", "status"),
    [("publish_whatsapp_flow", "PUBLISHED"), ("deprecate_whatsapp_flow", "DEPRECATED"), ("delete_whatsapp_flow", None)],
)
def test_what_can_be_done_once_is_done_although_its_answer_is_lost(
    gateway: Gateway, simulator: Simulator, waba: str, name: str, status: str | None
) -> None:
    one = made(gateway, simulator, publish=name.startswith("deprecate"))
    hop = "delete" if status is None else "settings"
    simulator.fault(one, kind="truncate", hop=hop, times=1)  # it is done, and half of the answer comes
    getattr(gateway.client(), name)(id=waba, flowId=one)
    assert (simulator.state.flows[one].status if one in simulator.state.flows else None) == status


@pytest.mark.parametrize(("attempt", "status"), [("attempt=2; max=3", 200), ("attempt=1; max=3", 400)])
def test_an_sdk_that_repeats_a_call_is_told_that_it_is_done(
    gateway: Gateway, simulator: Simulator, waba: str, attempt: str, status: int
) -> None:
    one = made(gateway, simulator, publish=True)
    body = json.dumps({"id": waba, "flowId": one}).encode()
    headers = {"amz-sdk-request": attempt, "amz-sdk-invocation-id": attempt}
    sent = gateway.send("POST", "/v1/whatsapp/flow/publish", body, sign_with=gateway.world.key, headers=headers)
    assert sent.status == status, sent.body


def test_a_flow_is_created_once_although_its_answer_is_lost(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    client = gateway.client(retries={"mode": "standard", "total_max_attempts": 2})
    simulator.fault(simulator.waba_id, kind="truncate", hop="settings", times=1)
    with pytest.raises(client.exceptions.DependencyException, match="not known") as caught:
        client.create_whatsapp_flow(id=waba, flowName="Once", categories=["OTHER"])
    assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 1
    assert [one.name for one in simulator.state.flows.values()] == ["Once"]


def test_whose_a_flow_is_is_asked_once(gateway: Gateway, simulator: Simulator, waba: str) -> None:
    for know in (
        lambda id_: gateway.client().get_whatsapp_flow(id=waba, flowId=id_),
        lambda _: gateway.client().list_whatsapp_flows(id=waba),
        lambda id_: gateway.client().update_whatsapp_flow(id=waba, flowId=id_, flowName=f"{id_} again"),
    ):
        one = simulator.add_flow(name_of(simulator))
        know(one)
        before = simulator.count(one).get("metadata", 0)
        gateway.client().update_whatsapp_flow(id=waba, flowId=one, flowName=f"{one} at last")
        assert simulator.count(one).get("metadata", 0) == before


def test_an_endpoint_that_fails_metas_check_is_not_asked_again(
    gateway: Gateway, simulator: Simulator, waba: str
) -> None:
    one = made(gateway, simulator)
    simulator.fault(one, kind="error", code=131000, hop="settings")
    before = simulator.count(one)["settings"]
    with pytest.raises(gateway.client().exceptions.DependencyException, match="does not help"):
        gateway.client().publish_whatsapp_flow(id=waba, flowId=one)
    assert simulator.count(one)["settings"] == before + 1
