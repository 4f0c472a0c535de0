"""Templates at the simulator: what is refused, what becomes of the rest as time passes, and the files of headers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness.client import Reply
from harness.client import send as send_request
from harness.receiver import Receiver, receiving
from harness.simulator_client import Client, running
from whaul.simulator import Simulator

BODY = {"type": "BODY", "text": "Your order {{1}} has left our harbour.", "example": {"body_text": [["#1"]]}}
HOUR, DAY = 3600, 24 * 3600


@pytest.fixture(scope="module")
def _running() -> Iterator[Client]:
    with running() as client:
        yield client


@pytest.fixture
def client(_running: Client) -> Client:
    _running.sim.reset()
    return _running


@pytest.fixture
def receiver(client: Client) -> Iterator[Receiver]:
    with receiving() as found:
        client.sim.set_webhook(found.url)
        yield found
        client.sim.set_webhook(None)


def post(client: Client, target: str, content: Any, **kwargs: Any) -> Reply:
    return client.graph(target, "POST", body=json.dumps(content).encode(), **kwargs)


def create(client: Client, name: str = "order_left", **members: Any) -> Reply:
    new = {"name": name, "category": "UTILITY", "language": "en_US", "components": [BODY]} | members
    return post(client, f"{client.sim.waba_id}/message_templates", new)


def created(client: Client, name: str = "order_left", **members: Any) -> str:
    return str(create(client, name, **members).json()["id"])


def shown(client: Client, id_: str) -> Any:
    return client.graph(f"{id_}?fields=status,components,rejected_reason,category").json()


def told(receiver: Receiver, count: int) -> list[tuple[str, str]]:
    """The status updates so far, when there are `count` webhooks: their events, and of which name."""
    values = [found.value for found in receiver.wait(count)]
    return [(value["event"], value["message_template_name"]) for value in values if "event" in value]


# --- as time passes


def test_a_review_comes_by_the_clock_though_nobody_reads(client: Client, receiver: Receiver) -> None:
    client.sim.configure(template_review_delay=HOUR)
    id_ = created(client)
    client.sim.advance(HOUR - 1)
    assert shown(client, id_)["status"] == "PENDING"
    created(client, "reject_me")
    client.sim.advance(HOUR)
    assert sorted(told(receiver, 2)) == [("APPROVED", "order_left"), ("REJECTED", "reject_me")]


def test_a_template_that_people_dislike_is_paused_twice_and_then_disabled(client: Client, receiver: Receiver) -> None:
    id_ = created(client)
    receiver.wait(1)
    for hours in (3, 6):
        client.sim.templates.change(id_, quality="RED")
        client.sim.advance(hours * HOUR - 1)
        assert shown(client, id_)["status"] == "PAUSED"
        client.sim.advance(1)
        receiver.wait(1 + hours)  # 3 webhooks each time: quality, paused, approved
    client.sim.templates.change(id_, quality="RED")
    events = [event for event, _ in told(receiver, 9)]
    assert sorted(events) == ["APPROVED", "APPROVED", "APPROVED", "DISABLED", "PAUSED", "PAUSED"]
    gone = client.graph(f"{client.sim.waba_id}/message_templates?name=order_left", "DELETE")
    assert gone.error["code"] == 100


@pytest.mark.parametrize("status", ["PENDING", "PAUSED", "IN_APPEAL", "ARCHIVED"])
def test_a_status_that_was_set_stays(client: Client, status: str) -> None:
    id_ = created(client)
    assert client.control("PATCH", f"templates/{id_}", {"status": status}).json()["status"] == status
    client.sim.advance(DAY)
    assert shown(client, id_)["status"] == status
    (listed,) = client.control("GET", "templates").json()["templates"]
    assert (listed["id"], listed["status"], listed["waba_id"]) == (id_, status, client.sim.waba_id)


@pytest.mark.parametrize("members", [{"status": "GREAT"}, {"category": "TRANSACTIONAL"}, {"quality": "BLUE"}])
def test_a_change_that_cannot_be_is_refused(client: Client, members: dict[str, str]) -> None:
    id_ = created(client)
    assert client.control("PATCH", f"templates/{id_}", members).status == 400
    assert client.control("PATCH", "templates/9", {"status": "PAUSED"}).status == 404


def test_a_deletion_is_told_and_may_take_30_days(client: Client, receiver: Receiver) -> None:
    edge = f"{client.sim.waba_id}/message_templates"
    created(client, "gone")
    late = created(client, "late")
    receiver.wait(2)
    assert client.graph(f"{edge}?name=gone", "DELETE").json() == {"success": True}
    client.sim.configure(template_deletion="PENDING_DELETION")
    assert client.graph(f"{edge}?name=late&hsm_id={late}", "DELETE").json() == {"success": True}
    assert client.graph(f"{edge}?name=late", "DELETE").error["code"] == 100  # it is on its way already
    assert sorted(told(receiver, 4))[2:] == [("DELETED", "gone"), ("PENDING_DELETION", "late")]
    assert [one["status"] for one in client.graph(edge).json()["data"]] == ["PENDING_DELETION"]
    assert create(client, "late").error["error_subcode"] == 2388023
    client.sim.advance(30 * DAY)
    assert client.graph(edge).json()["data"] == []
    assert create(client, "late").status == 200


# --- changes


def test_an_approved_template_is_changed_once_a_day_and_ten_times_in_30_days(client: Client) -> None:
    id_ = created(client)
    change = {"cta_url_link_tracking_opted_out": True}
    for _ in range(10):
        assert post(client, id_, {"components": [{"type": "BODY"}]}).error["code"] == 100  # which does not count
        assert post(client, id_, change).json() == {"success": True}
        assert post(client, id_, change).error["code"] == 100
        client.sim.advance(DAY)
    assert post(client, id_, change).error["code"] == 100
    client.sim.advance(21 * DAY)
    assert post(client, id_, change).json() == {"success": True}
    assert shown(client, id_)["status"] == "APPROVED"
    assert post(client, id_, {"category": "MARKETING"}).error["code"] == 100  # it keeps its category


def test_what_was_approved_may_be_used_at_once_and_the_rest_is_reviewed(client: Client) -> None:
    client.sim.configure(template_edit="APPROVED")
    ids = {status: created(client, status.lower()) for status in ("APPROVED", "REJECTED", "PAUSED")}
    client.sim.configure(template_review_delay=HOUR)
    for status, id_ in ids.items():
        client.sim.templates.change(id_, status=status)  # type: ignore[arg-type]
        assert post(client, id_, {"components": [BODY]}).json() == {"success": True}
    found = {status: shown(client, id_)["status"] for status, id_ in ids.items()}
    assert found == {"APPROVED": "APPROVED", "REJECTED": "PENDING", "PAUSED": "PENDING"}
    assert post(client, ids["PAUSED"], {"components": [BODY]}).error["code"] == 100  # it is being reviewed


def test_what_is_changed_is_told(client: Client, receiver: Receiver) -> None:
    new = {"library_template_name": "order_confirmed", "components": None}
    id_ = created(client, **new)
    receiver.wait(1)
    assert post(client, id_, {"components": [BODY]}).json() == {"success": True}
    receiver.wait(3)
    client.sim.advance(DAY)
    assert post(client, id_, {"cta_url_link_tracking_opted_out": True}).json() == {"success": True}
    changes = [found.json()["entry"][0]["changes"][0] for found in receiver.wait(4)]
    status, components = "message_template_status_update", "message_template_components_update"
    assert sorted(change["field"] for change in changes) == [components, status, status, status]
    told = next(change["value"] for change in changes if change["field"] == components)
    assert told["message_template_element"] == BODY["text"]


# --- components


def test_components_of_all_kinds_are_taken(client: Client) -> None:
    handle = uploaded(client)
    header = {"type": "header", "format": "image", "example": {"header_handle": [handle]}}
    button = {"type": "URL", "text": "Look", "url": "https://example.com"}
    card = {"components": [header, BODY, {"type": "buttons", "buttons": [button]}]}
    code = [{"type": "BODY", "add_security_recommendation": True}, {"type": "FOOTER", "code_expiration_minutes": 5}]
    for number, members in enumerate(
        (
            {"components": [BODY, {"type": "CAROUSEL", "cards": [card, card]}], "category": "MARKETING"},
            {"components": code, "category": "AUTHENTICATION"},
            {"components": [{"type": "HEADER", "format": "LOCATION"}, BODY]},
            {"components": [BODY, {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {}}]},
        )
    ):
        assert create(client, f"kind_{number}", **members).json()["status"] == "PENDING"


@pytest.mark.parametrize(
    ("component", "subcode"),
    [
        ({"type": "SIDEBAR"}, None),
        ({"type": "BUTTONS", "buttons": ["Look"]}, None),
        ({"type": "BUTTONS", "buttons": []}, None),
        ({"type": "BUTTONS", "buttons": [{"type": "URL", "text": "x" * 26}]}, 2388040),
        ({"type": "CAROUSEL"}, None),
        ({"type": "CAROUSEL", "cards": [{"components": [{"type": "HEADER", "format": "VIDEO"}]}]}, 2388273),
        ({"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["100000000000001"]}}, 2388273),
        ({"type": "HEADER", "format": "TEXT", "text": "x" * 61}, 2388040),
        ({"type": "FOOTER"}, 2388073),
    ],
)
def test_a_component_that_is_not_of_its_form_is_refused(
    client: Client, component: dict[str, Any], subcode: int | None
) -> None:
    error = create(client, components=[BODY, component]).error
    assert (error["code"], error.get("error_subcode")) == (100, subcode)


# --- examples of headers


def session(client: Client, length: int = 5, **members: str) -> Reply:
    about = {"file_name": "a.png", "file_length": length, "file_type": "image/png"} | members
    return post(client, f"{client.sim.apps[0].id}/uploads", about)


def send(client: Client, id_: str, data: bytes, offset: int = 0, **scheme: str) -> Reply:
    """Send bytes with the token of an authorization `scheme`; OAuth and the simulator's, unless another is named."""
    ((name, token),) = (scheme or {"OAuth": client.sim.token}).items()
    headers = {"Authorization": f"{name} {token}", "file_offset": str(offset)}
    return send_request(client.sim.port, "POST", f"/v25.0/{id_}", data, headers)


def uploaded(client: Client) -> str:
    return str(send(client, session(client).json()["id"], b"12345").json()["h"])


@pytest.mark.parametrize("scheme", ["OAuth", "Bearer"])
def test_an_upload_goes_on_where_it_stopped(client: Client, scheme: str) -> None:
    id_ = session(client).json()["id"]
    assert send(client, id_, b"12", **{scheme: client.sim.token}).json() == {"file_offset": 2}
    assert send(client, id_, b"12", **{scheme: client.sim.token}).error["code"] == 100  # from the beginning again
    assert client.graph(id_).json()["file_offset"] == 2
    assert send(client, id_, b"345", 2, **{scheme: client.sim.token}).json()["h"].startswith("4::")


def test_a_session_is_known_by_its_own_id_and_signature_only(client: Client) -> None:
    id_ = session(client).json()["id"]
    for wrong in (id_.replace("?", "%3F").replace("=", "%3D"), id_.partition("?")[0], id_ + "x", "upload:x?sig=y"):
        assert send(client, wrong, b"12345").error["error_subcode"] == 33
    assert send(client, id_, b"123456").error["code"] == 100  # longer than was said


@pytest.mark.parametrize("members", [{"file_type": "image/webp"}, {"file_length": "0"}, {"file_length": "many"}])
def test_a_session_is_for_a_file_of_a_known_type_and_length(client: Client, members: dict[str, str]) -> None:
    assert session(client, **members).error["code"] == 100


def test_a_handle_is_of_the_app_whose_token_made_it(client: Client) -> None:
    other = client.sim.add_app("Other", "secret", "other-token")
    edges = {"app": f"{other.id}/uploads", "account": f"{client.sim.waba_id}/uploads"}
    about = {"file_name": "a.png", "file_length": 5, "file_type": "image/png"}
    for edge in edges.values():
        assert post(client, edge, about).error["code"] == 100
    id_ = post(client, edges["app"], about, token="other-token").json()["id"]
    assert send(client, id_, b"12345").error["error_subcode"] == 33
    handle = send(client, id_, b"12345", OAuth="other-token").json()["h"]
    header = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": [handle]}}
    assert create(client, components=[header, BODY]).error["error_subcode"] == 2388273


def test_the_link_that_meta_shows_of_an_example_is_neither_a_handle_nor_fit_for_sending(
    client: Client, receiver: Receiver
) -> None:
    header = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": [uploaded(client)]}}
    found = shown(client, created(client, components=[header, BODY]))
    link = found["components"][0]["example"]["header_handle"][0]
    assert link.startswith("http")
    assert post(client, found["id"], {"components": found["components"]}).error["error_subcode"] == 2388273
    receiver.wait(1)
    media = {"type": "header", "parameters": [{"type": "image", "image": {"link": link}}]}
    template = {"name": "order_left", "language": {"code": "en_US"}, "components": [media]}
    assert message(client.sim, client, template).status == 200
    (status,) = receiver.wait(2)[-1].value["statuses"]
    assert (status["status"], status["errors"][0]["code"]) == ("failed", 131053)


# --- sending


def message(sim: Simulator, client: Client, template: dict[str, Any]) -> Reply:
    content = {"messaging_product": "whatsapp", "to": "15550100099", "type": "template", "template": template}
    return post(client, f"{sim.phone_numbers[0].id}/messages", content)


@pytest.mark.parametrize(
    ("status", "code"), [("PENDING", 132001), ("REJECTED", 132001), ("PAUSED", 132015), ("DISABLED", 132016)]
)
def test_only_an_approved_template_is_sent(client: Client, status: Any, code: int) -> None:
    id_ = created(client)
    template = {"name": "order_left", "language": {"code": "en_US"}}
    assert message(client.sim, client, template).status == 200
    client.sim.templates.change(id_, status=status)
    assert message(client.sim, client, template).error["code"] == code


def test_a_button_is_not_sent_by_what_it_is_called_when_a_template_is_made(client: Client) -> None:
    def button(kind: str) -> dict[str, Any]:
        return {"name": "any", "language": {"code": "en"}, "components": [{"type": "button", "sub_type": kind}]}

    assert message(client.sim, client, button("PHONE_NUMBER")).error["code"] == 100
    for kind in ("url", "QUICK_REPLY"):
        assert message(client.sim, client, button(kind)).status == 200


# --- the library


INPUTS = [
    {"type": "URL", "url": {"base_url": "https://example.com/{{1}}", "url_suffix_example": "https://example.com/1"}},
    {"type": "PHONE_NUMBER", "phone_number": "+15550100"},
]


@pytest.mark.parametrize(
    "inputs", [INPUTS, json.dumps(INPUTS), str(INPUTS)], ids=["list", "JSON", "as in Meta's sample"]
)
def test_a_template_of_the_library_has_its_parts_and_the_inputs(client: Client, inputs: Any) -> None:
    new = {"library_template_name": "delivery_update_1", "library_template_button_inputs": inputs}
    made = create(client, components=None, **new).json()
    assert made["status"] == "APPROVED"
    header, body, buttons = shown(client, made["id"])["components"]
    assert (header["text"], body["example"]) == ("On its way", {"body_text": [["Ana", "#1234"]]})
    assert [one.get("url", one.get("phone_number")) for one in buttons["buttons"]] == [
        "https://example.com/{{1}}",
        "+15550100",
    ]


@pytest.mark.parametrize("inputs", [None, [], INPUTS[:1], INPUTS[::-1], ["URL", "PHONE_NUMBER"], "url", "[1", "3"])
def test_the_buttons_of_the_library_need_their_inputs(client: Client, inputs: Any) -> None:
    new = {"library_template_name": "delivery_update_1", "library_template_button_inputs": inputs}
    assert create(client, components=None, **new).error["code"] == 100


@pytest.mark.parametrize("query", ["topic=WEATHER", "industry=MINING"])
def test_a_filter_of_the_library_that_is_not_there_is_refused(client: Client, query: str) -> None:
    assert client.graph(f"message_template_library?{query}").error["code"] == 100
