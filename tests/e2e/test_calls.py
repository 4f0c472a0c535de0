"""Calls, public keys and conversion events with boto3, against the simulator."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from harness.error_rows import fails, shows
from harness.world import Gateway
from whaul.simulator import Simulator

PRIVATE = rsa.generate_private_key(65537, 2048)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PRIVATE_PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
OTHERS = [
    ec.generate_private_key(ec.SECP256R1()).public_key(),
    rsa.generate_private_key(65537, 3072).public_key(),
]
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n"


def number_of(gateway: Gateway) -> str:
    return gateway.world.phone_number_id


def user_of(simulator: Simulator) -> str:
    """Somebody whom no other test calls."""
    return f"1555020{len(simulator.state.call_permissions) + len(simulator.state.voice_calls):04}"


def send(gateway: Gateway, **event: Any) -> Any:
    content = json.dumps({"messaging_product": "whatsapp", **event}).encode()
    return gateway.client().send_whatsapp_call_event(
        originationPhoneNumberId=number_of(gateway), metaApiVersion="v25.0", callEvent=content
    )


def offer(kind: str = "offer") -> dict[str, str]:
    return {"sdp_type": kind, "sdp": SDP}


# --- calls


@shows("Meta: a call is under way")
def test_a_person_permits_calls_and_is_called(gateway: Gateway, simulator: Simulator) -> None:
    client, user = gateway.client(), user_of(simulator)

    def permission() -> Any:
        return client.get_whatsapp_call_permission(
            originationPhoneNumberId=number_of(gateway), destinationPhoneNumber=f"+{user}"
        )

    assert permission()["permission"]["status"] == "no_permission"
    simulator.calling.permit(user)
    found = permission()
    assert found["permission"]["status"] == "temporary"
    assert found["permission"]["expirationTime"].timestamp() == pytest.approx(simulator.state.now() + 7 * 86400, abs=60)
    asking, calling = found["actions"]
    assert (asking["actionName"], asking["canPerformAction"], asking["limits"]) == (
        "send_call_permission_request",
        False,
        [],
    )
    limit = {"timePeriod": "PT24H", "maxAllowed": 10, "currentUsage": 0}
    assert (calling["actionName"], calling["canPerformAction"], calling["limits"]) == ("start_call", True, [limit])
    call_id = send(gateway, action="connect", to=f"+{user}", session=offer())["callId"]
    assert call_id.startswith("wacid.")
    fails(gateway, "Meta: a call is under way", lambda: send(gateway, action="connect", to=user, session=offer()))
    simulator.calling.act(call_id, "accept")
    assert send(gateway, action="terminate", call_id=call_id)["callId"] == call_id
    assert simulator.state.voice_calls[call_id].state == "ENDED"


def test_a_person_without_a_number_is_asked_for_by_their_user_id(gateway: Gateway, simulator: Simulator) -> None:
    user = "US.13491208655302741918"
    simulator.calling.permit(user, status="permanent")
    found = gateway.client().get_whatsapp_call_permission(
        originationPhoneNumberId=number_of(gateway), endUserBsuid=user
    )
    assert found["permission"] == {"status": "permanent"}


def test_an_answer_has_the_id_of_its_call_and_the_right_kind_of_session(gateway: Gateway, simulator: Simulator) -> None:
    call = simulator.calling.ring(user_of(simulator))
    invalid = gateway.client().exceptions.InvalidParametersException
    with pytest.raises(invalid):  # an offer, where an answer is due
        send(gateway, action="accept", call_id=call.id, session=offer())
    assert send(gateway, action="pre_accept", call_id=call.id, session=offer("answer"))["callId"] == call.id
    assert send(gateway, action="accept", call_id=call.id, session=offer("answer"))["callId"] == call.id
    assert send(gateway, action="terminate", call_id=call.id)["callId"] == call.id
    with pytest.raises(invalid):
        send(gateway, action="terminate", call_id=call.id)


@shows("Meta: what the caller wrote")
def test_without_permission_there_is_no_call_and_no_trouble_with_the_token(
    gateway: Gateway, simulator: Simulator
) -> None:
    user = user_of(simulator)
    for _ in range(25):  # more than what opens a circuit
        said = fails(
            gateway, "Meta: what the caller wrote", lambda: send(gateway, action="connect", to=user, session=offer())
        )
        assert "ask for the permission" in said
    assert "HTTP status 401, code 138006" in said


def test_too_many_questions_are_a_throttle(gateway: Gateway, simulator: Simulator) -> None:
    number = simulator.phone_numbers[0].id
    simulator.fault(number, kind="error", code=613, hop="metadata", times=1)
    found = gateway.client().get_whatsapp_call_permission(
        originationPhoneNumberId=number_of(gateway), destinationPhoneNumber="+15550100"
    )
    assert found["permission"]["status"] == "no_permission"  # asked again
    simulator.fault(number, kind="error", code=138005, hop="send", times=1)
    with pytest.raises(gateway.client().exceptions.ThrottledRequestException):  # a call is not
        send(gateway, action="connect", to="15550100", session=offer())


def test_a_person_is_named_once(gateway: Gateway) -> None:
    for who in ({}, {"destinationPhoneNumber": "+15550100", "endUserBsuid": "US.1"}):
        with pytest.raises(gateway.client().exceptions.InvalidParametersException, match="either destination"):
            gateway.client().get_whatsapp_call_permission(originationPhoneNumberId=number_of(gateway), **who)


@pytest.mark.parametrize("event", [b"[]", b"x", b"{}", b'{"messaging_product": "sms"}'])
def test_what_is_no_event_of_a_call_is_refused_before_meta_sees_it(gateway: Gateway, event: bytes) -> None:
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match="callEvent must"):
        gateway.client().send_whatsapp_call_event(
            originationPhoneNumberId=number_of(gateway), metaApiVersion="v25.0", callEvent=event
        )


# --- public keys


@pytest.mark.parametrize("form", ["list", "flat"])
def test_a_key_is_put_and_must_be_put_again_after_the_number_moved(
    gateway: Gateway, simulator: Simulator, form: str
) -> None:
    client, here = gateway.client(), {"originationPhoneNumberId": number_of(gateway)}
    simulator.configure(public_key_answer=form)
    simulator.state.public_keys.clear()
    try:
        assert "businessPublicKey" not in client.get_whatsapp_business_public_key(**here)
        client.put_whatsapp_business_public_key(**here, businessPublicKey=PEM)
        found = client.get_whatsapp_business_public_key(**here)
        assert (found["businessPublicKey"], found["businessPublicKeySignatureStatus"]) == (PEM, "VALID")
        simulator.state.public_keys[simulator.phone_numbers[0].id].status = "MISMATCH"
        assert client.get_whatsapp_business_public_key(**here)["businessPublicKeySignatureStatus"] == "MISMATCH"
    finally:
        simulator.configure(public_key_answer="list")


def test_a_private_key_is_refused_and_never_repeated(gateway: Gateway) -> None:
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match="must stay with you") as caught:
        gateway.client().put_whatsapp_business_public_key(
            originationPhoneNumberId=number_of(gateway), businessPublicKey=PRIVATE_PEM
        )
    secret = PRIVATE_PEM.splitlines()[5]
    assert secret not in str(caught.value)
    assert secret not in gateway.log.read_text()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "Give businessPublicKey"),
        ({"kmsKeyArn": "arn:aws:kms:eu-west-1:111122223333:key/1"}, "businessPublicKey"),
        ({"businessPublicKey": "nonsense"}, "2048 bits"),
        *[
            ({"businessPublicKey": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()}, "RSA")
            for key in OTHERS
        ],
    ],
)
def test_what_is_no_public_key_for_flows_is_refused(gateway: Gateway, members: dict[str, str], said: str) -> None:
    with pytest.raises(gateway.client().exceptions.InvalidParametersException, match=said):
        gateway.client().put_whatsapp_business_public_key(originationPhoneNumberId=number_of(gateway), **members)


# --- conversion events


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
        ({"user_data": {"ctwa_clid": "x"}}, "compare it with what Meta documents"),
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
