"""Voice calls with boto3, against the simulator: permissions, and the events of a call."""

import json
from typing import Any

import pytest

from harness.error_rows import fails, shows
from harness.world import Gateway
from whaul.simulator import Simulator

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
