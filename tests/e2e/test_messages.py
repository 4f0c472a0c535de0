"""SendWhatsAppMessage with boto3: to the simulated Meta, as it came, once."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.waiting import eventually
from harness.world import Gateway
from whaul.simulator import Simulator

TEXT = {"messaging_product": "whatsapp", "to": "+1 555 010 0099", "type": "text", "text": {"body": "Ünïcode 👋"}}
SEND_PATH = "/v1/whatsapp/send"


def send(gateway: Gateway, message: Any, version: str = "v20.0") -> Any:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return gateway.client().send_whatsapp_message(
        originationPhoneNumberId=gateway.world.phone_number_id, message=raw, metaApiVersion=version
    )


def refusal(code: str, gateway: Gateway, message: Any = TEXT, version: str = "v20.0") -> str:
    with pytest.raises(getattr(gateway.client().exceptions, code)) as caught:
        send(gateway, message, version)
    found = str(caught.value.response["Error"]["Message"])
    assert "555" not in found
    return found


def test_a_message_arrives_byte_for_byte(gateway: Gateway, simulator: Simulator) -> None:
    raw = b' {"type":"text", "messaging_product" :"whatsapp","to":"15550100099","text":{"body":"\\u00e9 \xc3\xa9"}}\n'
    answer = send(gateway, raw, "v25.0")
    (message,) = simulator.messages
    assert (message.raw, message.version, message.id) == (raw, "v25.0", answer["messageId"])
    assert message.phone_number_id == simulator.phone_numbers[0].id
    line = gateway.logged(answer)
    assert (line["operation"], line["outcome"]) == ("SendWhatsAppMessage", "ok")
    assert "15550100099" not in gateway.log.read_text(encoding="utf-8")


def test_a_reaction_and_a_mark_as_read_go_the_same_way(gateway: Gateway, simulator: Simulator) -> None:
    received = simulator.receive("100000000000001")["entry"][0]["changes"][0]["value"]["messages"][0]
    reaction = {"message_id": received["id"], "emoji": "👍"}
    assert send(gateway, TEXT | {"type": "reaction", "reaction": reaction})["messageId"]
    read = send(gateway, {"messaging_product": "whatsapp", "status": "read", "message_id": received["id"]})
    assert "messageId" not in read
    assert [message.id is None for message in simulator.messages] == [False, True]


def test_a_large_message_arrives(gateway: Gateway, simulator: Simulator) -> None:
    long = TEXT | {"text": {"body": "x" * 2_000_000}}
    send(gateway, long)
    assert simulator.messages[0].content == long


def test_a_message_over_the_models_limit_is_refused(gateway: Gateway, simulator: Simulator) -> None:
    message = json.dumps(TEXT | {"text": {"body": "x" * 2_048_000}}).encode()
    body = {
        "originationPhoneNumberId": gateway.world.phone_number_id,
        "message": base64.b64encode(message).decode(),
        "metaApiVersion": "v20.0",
    }
    reply = gateway.send("POST", SEND_PATH, json.dumps(body).encode(), sign_with=gateway.world.key)
    assert reply.code == "ValidationException"
    assert "2048000" in reply.message
    assert simulator.messages == []


@pytest.mark.parametrize(("path", "limit"), [(SEND_PATH, 3 * 1024 * 1024), ("/v1/whatsapp/media", 256 * 1024)])
def test_only_a_message_may_have_a_large_body(gateway: Gateway, path: str, limit: int) -> None:
    reply = gateway.send("POST", path, headers={"Content-Length": str(limit + 1)})
    assert reply.code == "RequestEntityTooLargeException"
    assert str(limit) in reply.message


@pytest.mark.parametrize(
    "message", [b"no json", b"[]", b'"x"', b"{}", b'{"messaging_product": "sms"}', b"\xff\xfe", b"{"]
)
def test_what_is_no_message_for_whatsapp_is_refused(gateway: Gateway, simulator: Simulator, message: bytes) -> None:
    refusal("InvalidParametersException", gateway, message)
    assert simulator.requests == []


USER = "US.13491208655302741918"


@pytest.mark.parametrize(
    "content",
    [
        {"type": "text", "text": {"body": "Hello"}},
        {"type": "template", "template": {"name": "hello", "language": {"code": "en_US"}}},
        {"type": "reaction", "reaction": {"message_id": "wamid.x", "emoji": "👍"}},
    ],
    ids=lambda content: content["type"],
)
@pytest.mark.parametrize("recipient", [USER, "US.ENT.11815799212886844830"])
def test_a_user_id_is_reached_by_recipient_and_refused_in_to(
    gateway: Gateway, simulator: Simulator, recipient: str, content: dict[str, Any]
) -> None:
    message = {"messaging_product": "whatsapp", "recipient_type": "individual", **content}
    assert send(gateway, message | {"recipient": recipient})["messageId"]
    assert simulator.messages[0].contact == {"input": recipient, "user_id": recipient}
    for members in ({"to": recipient}, {"to": recipient, "recipient": recipient}):
        found = refusal("InvalidParametersException", gateway, message | members)
        assert "`recipient`" in found
        assert recipient not in found
    assert len(simulator.messages) == 1


@pytest.mark.parametrize(
    "to", ["us.13491208655302741918", " US.13491208655302741918\n", "+BR.ENT.a1", f"US.{'1' * 200}"]
)
@pytest.mark.parametrize("kind", [None, "individual", "group"])
def test_a_user_id_in_to_is_known_however_it_is_written(
    gateway: Gateway, simulator: Simulator, to: str, kind: str | None
) -> None:
    assert "`recipient`" in refusal("InvalidParametersException", gateway, TEXT | {"to": to, "recipient_type": kind})
    assert simulator.requests == []


def test_a_flow_with_too_much_data_is_refused_as_meta_would_never_deliver_it(
    gateway: Gateway, simulator: Simulator
) -> None:
    def message(size: int) -> dict[str, Any]:
        payload = {"screen": "A", "data": {"text": "x" * size}}
        action = {"name": "flow", "parameters": {"flow_id": "1", "flow_action_payload": payload}}
        return TEXT | {"type": "interactive", "interactive": {"type": "flow", "action": action}}

    assert send(gateway, message(1_000_000))["messageId"]
    assert "never deliver" in refusal("InvalidParametersException", gateway, message(1_048_576))
    assert send(gateway, TEXT | {"text": {"body": "x" * 1_048_576}})["messageId"]  # for Meta to judge
    assert len(simulator.messages) == 2


@pytest.mark.parametrize(
    "members",
    [
        {"to": "1.555.010.0099"},
        {"to": "+1 (555) 010-0099"},
        {"to": "15550100099", "recipient": USER},
        {"to": "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD", "recipient_type": "group"},
        {"to": None, "recipient": USER},
    ],
)
def test_what_to_can_hold_goes_to_meta(gateway: Gateway, simulator: Simulator, members: dict[str, Any]) -> None:
    assert send(gateway, TEXT | members)["messageId"]
    assert simulator.messages[0].content == TEXT | members


def test_a_template_that_needs_a_phone_number_says_so(gateway: Gateway, simulator: Simulator) -> None:
    simulator.configure(authentication_templates=["login_code"])
    message = {"messaging_product": "whatsapp", "recipient": USER, "type": "template"}
    found = refusal("InvalidParametersException", gateway, message | {"template": {"name": "login_code"}})
    assert "131062" in found
    assert "phone number" in found
    assert send(gateway, message | {"to": "15550100099", "template": {"name": "login_code"}})["messageId"]


def test_no_log_names_a_recipient(gateway: Gateway) -> None:
    message = {**TEXT, "to": None, "recipient": USER}
    send(gateway, message)
    refusal("InvalidParametersException", gateway, message | {"to": USER})
    gateway.settle()
    assert USER not in gateway.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "version", ["25", "v25", "25.0", "v0.0", "v25.0/x", "../v25.0", "v25.0\n", "v25.0?x=1", "V25.0"]
)
def test_a_version_that_is_none_is_refused(gateway: Gateway, simulator: Simulator, version: str) -> None:
    assert "v25.0" in refusal("InvalidParametersException", gateway, TEXT, version)
    assert simulator.requests == []


@pytest.mark.parametrize("members", [{"message": "***"}, {"message": 1}, {"message": {}}])
def test_a_message_that_is_not_base64_is_no_request(gateway: Gateway, members: dict[str, Any]) -> None:
    body = {"originationPhoneNumberId": gateway.world.phone_number_id, "metaApiVersion": "v20.0"} | members
    reply = gateway.send("POST", SEND_PATH, json.dumps(body).encode(), sign_with=gateway.world.key)
    assert (reply.status, reply.code) == (400, "SerializationException")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset"},
        {"kind": "truncate", "at": 5},
        {"kind": "error", "code": 131000},
        {"kind": "error", "code": 2, "status": 503, "is_transient": True},
        {"kind": "status", "status": 502},
        {"kind": "not_json"},
        {"kind": "html"},
    ],
)
def test_a_message_that_may_have_been_sent_is_not_sent_again(
    gateway: Gateway, simulator: Simulator, fault: dict[str, Any]
) -> None:
    simulator.fault(hop="send", **fault)
    refusal("DependencyException", gateway)
    assert sum(request.fault == fault["kind"] for request in simulator.requests) == 1


def test_a_message_that_meta_does_not_answer_in_time_is_not_sent_again(
    brief_gateway: Gateway, simulator: Simulator
) -> None:
    simulator.fault(hop="send", kind="rate_limit", code=4, regain_minutes=0, times=1)
    simulator.fault(hop="send", kind="stall")
    assert "not known" in refusal("DependencyException", brief_gateway)
    assert [request.fault for request in simulator.requests] == ["rate_limit", "stall"]


def send_as_sdks_do(gateway: Gateway, **config: Any) -> Any:
    """Send with a client that tries again on its own, as boto3 does by default."""
    client = gateway.client(**{"retries": {"mode": "legacy"}} | config)
    return client.send_whatsapp_message(
        originationPhoneNumberId=gateway.world.phone_number_id,
        message=json.dumps(TEXT).encode(),
        metaApiVersion="v25.0",
    )


def sendings(simulator: Simulator) -> int:
    return sum(request.hop == "send" for request in simulator.requests)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_an_sdk_that_tries_again_on_its_own_sends_no_second_message(
    gateway: Gateway, simulator: Simulator, mode: str
) -> None:
    simulator.fault(hop="send", kind="reset", times=1)
    with pytest.raises(gateway.client().exceptions.DependencyException, match=r"reached max retries.*not known"):
        send_as_sdks_do(gateway, retries={"mode": mode})
    assert (len(simulator.messages), sendings(simulator)) == (1, 1)
    assert send_as_sdks_do(gateway)["messageId"]  # a new call of the same message is meant
    assert len(simulator.messages) == 2


def test_an_sdk_that_loses_patience_gets_the_answer_to_its_first_attempt(
    gateway: Gateway, simulator: Simulator
) -> None:
    simulator.fault(hop="send", kind="latency", seconds=60, times=1)
    impatient = {"retries": {"mode": "legacy", "total_max_attempts": 10}, "read_timeout": 0.5}
    attempts: list[object] = []
    gateway.client(**impatient).meta.events.register("before-send", lambda **_: attempts.append(None))
    with ThreadPoolExecutor(1) as beside:
        sent = beside.submit(send_as_sdks_do, gateway, **impatient)
        eventually(lambda: len(attempts) > 1)
        simulator.advance(60)
        answer = sent.result()
    (message,) = simulator.messages
    assert (answer["messageId"], sendings(simulator)) == (message.id, 1)
    assert answer["ResponseMetadata"]["RetryAttempts"] > 0


def test_an_sdks_next_attempt_is_sent_when_the_one_before_surely_was_not(
    brief_gateway: Gateway, simulator: Simulator
) -> None:
    simulator.fault(hop="send", kind="rate_limit", code=130429, regain_minutes=5, times=2)
    answer = send_as_sdks_do(brief_gateway)
    assert ([answer["messageId"]], sendings(simulator)) == ([message.id for message in simulator.messages], 3)


def test_the_id_of_a_call_is_not_taken_for_that_of_another(gateway: Gateway, simulator: Simulator) -> None:
    other = gateway.world.make_key("--allow-all")
    body = {"originationPhoneNumberId": gateway.world.phone_number_id, "metaApiVersion": "v25.0"}
    given = {"message": base64.b64encode(json.dumps(TEXT).encode()).decode()}
    other_message = {"message": base64.b64encode(json.dumps(TEXT | {"to": "15550100098"}).encode()).decode()}
    other_number = {"originationPhoneNumberId": gateway.world.other_phone_number_id}
    calls = [
        (gateway.world.key, given),
        (gateway.world.key, given),
        (gateway.world.key, other_message),
        (gateway.world.key, given | other_number),
        (gateway.world.key, given | {"metaApiVersion": "v24.0"}),
        (other, given),
    ]
    same = {"amz-sdk-invocation-id": "1"}
    sent = [
        gateway.send("POST", SEND_PATH, json.dumps(body | members).encode(), sign_with=key, headers=same)
        for key, members in calls
    ]
    assert [reply.status for reply in sent] == [200] * 6
    first, again, *others = [reply.body for reply in sent]
    assert first == again
    assert len({first, *others}) == len(simulator.messages) == 5


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate_limit", "code": 130429, "regain_minutes": 0},
        {"kind": "rate_limit", "code": 80007, "regain_minutes": 0},
        {"kind": "error", "code": 131016},
        {"kind": "error", "code": 133004},
    ],
)
def test_a_message_that_meta_surely_did_not_take_is_sent_again(
    gateway: Gateway, simulator: Simulator, fault: dict[str, Any]
) -> None:
    simulator.fault(hop="send", times=2, **fault)
    assert send(gateway, TEXT)["messageId"]
    assert len(simulator.messages) == 1


@pytest.mark.parametrize(
    ("code", "subcode", "expected"),
    [
        (190, 463, "AccessDeniedByMetaException"),
        (131031, None, "AccessDeniedByMetaException"),
        (100, None, "DependencyException"),
        (100, 33, "ResourceNotFoundException"),
        (131009, None, "DependencyException"),
        (131042, None, "DependencyException"),
    ],
)
def test_metas_errors_come_through_the_same_table(
    gateway: Gateway, simulator: Simulator, code: int, subcode: int | None, expected: str
) -> None:
    simulator.fault(hop="send", kind="error", code=code, subcode=subcode)
    assert f"code {code}" in refusal(expected, gateway)
    assert sum(request.fault == "error" for request in simulator.requests) == 1


def test_sending_needs_its_own_action_on_the_number(gateway: Gateway, simulator: Simulator) -> None:
    world = gateway.world
    allowed = {
        "Effect": "Allow",
        "Action": "social-messaging:SendWhatsAppMessage",
        "Resource": world.phone_number_arn,
    }
    client = gateway.client(world.key_with_policy(allowed))
    raw = json.dumps(TEXT).encode()
    client.send_whatsapp_message(originationPhoneNumberId=world.phone_number_id, message=raw, metaApiVersion="v25.0")
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.send_whatsapp_message(
            originationPhoneNumberId=world.other_phone_number_id, message=raw, metaApiVersion="v25.0"
        )
    assert len(simulator.messages) == 1
