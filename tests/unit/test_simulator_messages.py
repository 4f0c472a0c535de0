"""Messages at the simulator, both ways: what a business sends is kept, and customers write on command."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness.simulator_client import JPEG, PDF, Client, running

TEXT = {"messaging_product": "whatsapp", "to": "+1 555 010 0099", "type": "text", "text": {"body": "Hello"}}


@pytest.fixture
def client() -> Iterator[Client]:
    with running() as client:
        yield client


def send(client: Client, message: Any) -> Any:
    return client.graph(f"{client.sim.phone_numbers[0].id}/messages", "POST", body=json.dumps(message).encode())


def inbound(client: Client, **members: str) -> Any:
    return client.control("POST", "messages/inbound", {name.rstrip("_"): value for name, value in members.items()})


def test_a_message_is_taken_and_kept(client: Client) -> None:
    answer = send(client, TEXT).json()
    assert answer["contacts"] == [{"input": TEXT["to"], "wa_id": "15550100099"}]
    (kept,) = client.control("GET", "messages").json()["messages"]
    assert (kept["id"], kept["message"]) == (answer["messages"][0]["id"], TEXT)
    assert client.control("DELETE", "messages").json() == {"messages": []}
    assert client.sim.messages == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"messaging_product": "sms"}, 100),
        ({"to": ""}, 100),
        ({"to": 15550100099}, 100),
        ({"to": 15550100099, "recipient": "US.13491208655302741918"}, 100),
        ({"to": None}, 100),
        ({"to": None, "recipient": "15550100099"}, 100),
        ({"to": None, "recipient": "us.13491208655302741918"}, 100),
        ({"to": None, "recipient": "13491208655302741918"}, 100),
        ({"to": None, "recipient": f"US.{'1' * 129}"}, 100),
        ({"to": None, "recipient": ["US.13491208655302741918"]}, 100),
        ({"recipient_type": "business_scoped_user_id"}, 100),
        ({"recipient_type": ["individual"]}, 100),
        ({"recipient_type": "group", "to": None, "recipient": "US.13491208655302741918"}, 100),
        ({"type": "smoke"}, 100),
        ({"type": ["text"]}, 100),
        ({"text": "Hello"}, 131008),
        ({"type": "image"}, 131008),
        ({"type": "image", "image": {"id": "999999999999999"}}, 131009),
        ({"status": "read", "message_id": "wamid.unknown"}, 131009),
    ],
)
def test_what_meta_would_refuse_is_refused_and_not_kept(client: Client, change: dict[str, Any], code: int) -> None:
    assert send(client, TEXT | change).error["code"] == code
    assert client.sim.messages == []


USER, PARENT = "US.13491208655302741918", "US.ENT.11815799212886844830"
GROUP = "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD"


@pytest.mark.parametrize(
    ("members", "contact"),
    [
        ({"recipient": USER}, {"input": USER, "user_id": USER}),
        ({"recipient": PARENT, "recipient_type": "individual"}, {"input": PARENT, "user_id": PARENT}),
        ({"recipient": USER, "to": ""}, {"input": USER, "user_id": USER}),
        ({"recipient": USER, "to": "+15550100099"}, {"input": "+15550100099", "wa_id": "15550100099"}),
        ({"to": USER}, {"input": USER, "wa_id": "13491208655302741918"}),  # so Meta loses it
        ({"to": GROUP, "recipient_type": "group"}, {"input": GROUP}),
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        {"type": "text", "text": {"body": "Hello"}},
        {"type": "template", "template": {"name": "hello"}},
        {"type": "reaction", "reaction": {"message_id": "wamid.x", "emoji": "x"}},
        {"type": "image", "image": {"id": JPEG}},
    ],
    ids=lambda content: content["type"],
)
def test_the_answer_says_to_whom_a_message_goes(
    client: Client, content: Any, members: Any, contact: dict[str, str]
) -> None:
    message = {"messaging_product": "whatsapp", **content, **members}
    assert send(client, message).json()["contacts"] == [contact]
    (kept,) = client.control("GET", "messages").json()["messages"]
    assert (kept["contact"], kept["message"]) == (contact, message)


@pytest.mark.parametrize("template", [{"name": "login_code"}, {"name": "hello", "bid_spec": {}}])
def test_a_template_that_needs_a_phone_number_does_not_go_to_a_user_id(client: Client, template: Any) -> None:
    client.sim.configure(authentication_templates=["login_code"])
    message = {"messaging_product": "whatsapp", "type": "template", "template": template}
    assert send(client, message | {"recipient": USER}).error["code"] == 131062
    assert send(client, message | {"recipient": USER, "to": "15550100099"}).status == 200


@pytest.mark.parametrize("edge", ["messages", "register"])
def test_a_body_that_is_nested_too_deeply_is_refused(client: Client, edge: str) -> None:
    path = f"{client.sim.phone_numbers[0].id}/{edge}"
    assert client.graph(path, "POST", body=b"[" * 100_000).error["code"] == 100


def test_a_customers_media_can_be_fetched_and_the_message_marked_as_read(client: Client) -> None:
    value = inbound(client, media_id=JPEG, text="Look!", from_="15550100042").json()["entry"][0]["changes"][0]["value"]
    (message,) = value["messages"]
    assert (message["from"], message["type"], message["image"]["caption"]) == ("15550100042", "image", "Look!")
    assert client.graph(message["image"]["id"]).json()["mime_type"] == message["image"]["mime_type"]
    read = {"messaging_product": "whatsapp", "status": "read", "message_id": message["id"]}
    assert send(client, read).json() == {"success": True}


def test_a_document_has_a_name_and_a_text_none(client: Client) -> None:
    def message(**members: str) -> Any:
        return inbound(client, **members).json()["entry"][0]["changes"][0]["value"]["messages"][0]

    assert message(media_id=PDF, file_name="a.pdf")["document"]["filename"] == "a.pdf"
    assert message(text="Hi")["text"] == {"body": "Hi"}


def test_a_customer_with_a_user_name_has_no_number(client: Client) -> None:
    def value(sender: str) -> Any:
        return client.sim.receive(text="Hi", sender=sender)["entry"][0]["changes"][0]["value"]

    for sender, identity in ((USER, {"user_id": USER}), (PARENT, {"parent_user_id": PARENT})):
        found = value(sender)
        (contact,), (message,) = found["contacts"], found["messages"]
        assert identity.items() <= contact.items()
        assert message["from_user_id"] == contact["user_id"]
        assert contact["profile"]["username"]
        assert not {"wa_id", "from"} & {*contact, *message}
    assert value(PARENT)["messages"][0]["from_parent_user_id"] == PARENT
    found = value("15550100042")
    (contact,), (message,) = found["contacts"], found["messages"]
    assert (contact["wa_id"], message["from"]) == ("15550100042", "15550100042")
    assert contact["user_id"] == message["from_user_id"] != value("15550100043")["contacts"][0]["user_id"]
    assert "username" not in contact["profile"]


def status_of(client: Client, members: Any, status: str) -> tuple[Any, Any]:
    """Send a message and let it have a status; give the webhook's contacts and its status."""
    sent = send(client, {"messaging_product": "whatsapp", "text": {"body": "Hello"}, **members}).json()["messages"][0]
    reply = client.control("POST", "messages/status", {"message_id": sent["id"], "status": status})
    assert reply.status == 201
    value = reply.json()["entry"][0]["changes"][0]["value"]
    (found,) = value["statuses"]
    assert (found["id"], found["status"], found["timestamp"]) == (sent["id"], status, str(int(client.clock.now)))
    return value.get("contacts"), found


@pytest.mark.parametrize("status", ["sent", "delivered", "read"])
def test_a_status_names_the_recipient_by_every_id_that_is_known(client: Client, status: str) -> None:
    (contact,), found = status_of(client, {"to": "+15550100099"}, status)
    assert (contact["wa_id"], found["recipient_id"]) == ("15550100099", "15550100099")
    assert contact["user_id"] == found["recipient_user_id"]
    (contact,), found = status_of(client, {"recipient": USER}, status)
    assert (contact["user_id"], found["recipient_user_id"]) == (USER, USER)
    assert "recipient_id" not in found
    assert "wa_id" not in contact
    (contact,), found = status_of(client, {"recipient": PARENT}, status)
    assert (contact["parent_user_id"], found["recipient_parent_user_id"]) == (PARENT, PARENT)
    assert contact["user_id"] == found["recipient_user_id"] != PARENT
    contacts, found = status_of(client, {"to": GROUP, "recipient_type": "group"}, status)
    assert (contacts, found["recipient_id"], found["recipient_type"]) == (None, GROUP, "group")


def test_a_failure_names_the_recipient_as_the_message_did(client: Client) -> None:
    contacts, found = status_of(client, {"to": "15550100099"}, "failed")
    assert (contacts, found["recipient_id"], found["errors"][0]["code"]) == (None, "15550100099", 131026)
    assert "recipient_user_id" not in found
    contacts, found = status_of(client, {"recipient": USER}, "failed")
    assert (contacts, found["recipient_user_id"], "recipient_id" in found) == (None, USER, False)


def test_a_flow_is_sent_unless_meta_has_blocked_it(client: Client) -> None:
    codes = []
    for id_ in ("7", client.sim.add_flow("A"), client.sim.add_flow("B", status="BLOCKED")):
        action = {"name": "flow", "parameters": {"flow_id": id_}}
        message = {**TEXT, "type": "interactive", "interactive": {"type": "flow", "action": action}}
        codes.append(send(client, message).json().get("error", {}).get("code"))
    assert codes == [None, None, 132068]


def test_a_status_that_cannot_be_is_refused(client: Client) -> None:
    def status(**members: Any) -> Any:
        return client.control("POST", "messages/status", members)

    lost = send(client, {**TEXT, "to": USER}).json()["messages"][0]["id"]
    sent = send(client, TEXT).json()["messages"][0]["id"]
    large = {**TEXT, "type": "interactive", "interactive": {"type": "flow", "data": "x" * 1_048_576}}
    for one in (lost, send(client, large).json()["messages"][0]["id"]):
        assert "never delivered" in status(message_id=one).json()["error"]
    assert status(message_id=sent, status="eaten").json()["allowed"] == ["sent", "delivered", "read", "failed"]
    assert [status(message_id=sent, colour="red").status, status(message_id=7).status] == [400, 400]
    assert (status(message_id="wamid.x").status, status(message_id=sent).status) == (404, 201)
    with pytest.raises(KeyError):
        client.sim.status("wamid.x")


@pytest.mark.parametrize(
    ("members", "status"), [({"media_id": "42"}, 404), ({"phone_number_id": "42"}, 404), ({"smoke": "x"}, 400)]
)
def test_a_customer_who_cannot_write_so_is_told(client: Client, members: dict[str, str], status: int) -> None:
    assert inbound(client, **members).status == status
