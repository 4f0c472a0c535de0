"""Messages at the simulator, both ways: what a business sends is kept, and customers write on command."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from simulator_client import JPEG, PDF, Client, running

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


@pytest.mark.parametrize(
    ("members", "status"), [({"media_id": "42"}, 404), ({"phone_number_id": "42"}, 404), ({"smoke": "x"}, 400)]
)
def test_a_customer_who_cannot_write_so_is_told(client: Client, members: dict[str, str], status: int) -> None:
    assert inbound(client, **members).status == status
