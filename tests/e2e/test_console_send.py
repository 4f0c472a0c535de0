"""The console's messages to customers, over a simulated Meta."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from html import unescape

import pytest

from harness.client import Reply
from harness.console import RunningConsole, Visitor, allow, console, inside, unlinked, words
from harness.inbox import Installation, post
from harness.world import World
from whaul.simulator import Simulator
from whaul.simulator.templates import Template

CUSTOMER = "15550100777"


@pytest.fixture(scope="module")
def own(running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> World:
    found = unlinked(running_simulator, tmp_path_factory.mktemp("send"))
    found.link()
    return found


@pytest.fixture(scope="module")
def site(own: World) -> Iterator[RunningConsole]:
    with console(own.environ, own.folder) as found:
        yield found


@pytest.fixture(scope="module")
def operator(site: RunningConsole) -> Visitor:
    return site.sign_in(site.key("--allow-all"))


async def write_now(simulator: Simulator, here: Installation) -> None:
    """Have the customer write to the first number."""
    message = {"from": CUSTOMER, "id": "wamid.in", "timestamp": "1", "type": "text", "text": {"body": "Hello"}}
    came = post(message, waba=simulator.waba_id, number=simulator.phone_numbers[0].id)
    assert (await here.inbox.put(replace(came, received_at=datetime.now(UTC)))).events == 1


def form(reply: Reply) -> dict[str, str]:
    """What a page's form has filled in already."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', reply.text))


def test_a_text_is_looked_at_sent_once_and_followed(own: World, operator: Visitor, simulator: Simulator) -> None:
    assert "+1 555-010-0001" in words(operator.get("/send"))
    here = f"/send?number={own.phone_number_id}"
    members = form(operator.get(here)) | {"to": f"+{CUSTOMER}", "text": "Hello <b>'you'</b>"}
    previewed = operator.post("/send", members | {"do": "preview"})
    assert simulator.messages == []
    assert "Hello &lt;b&gt;&#39;you&#39;&lt;/b&gt;" in previewed.text
    assert "window closed" in words(previewed)
    assert f"--origination-phone-number-id {own.phone_number_id}" in words(previewed)
    inside(own.folder / "whaul.db", partial(write_now, simulator))
    previewed = operator.post("/send", members | {"do": "preview"})
    assert "window open" in words(previewed)
    sending = form(previewed) | members | {"do": "send"}
    sent = words(operator.submit("/send", sending))
    again = words(operator.submit("/send", sending))
    [message] = simulator.messages
    assert message.content["text"] == {"body": "Hello <b>'you'</b>"}
    assert message.id is not None
    for page in (sent, again):
        assert f"WhatsApp id {message.id}" in page
        assert f"whaul events list --wamid {message.id}" in page
    assert operator.get(f"/messages?kind=all&wamid={message.id}").status == 200


def test_the_form_begins_with_the_number_that_was_used_last(own: World, site: RunningConsole) -> None:
    visitor = site.sign_in(site.key("--allow-all"))
    assert "number" not in form(visitor.get("/send")), "there are two numbers"
    assert form(visitor.get(f"/send?number={own.other_phone_number_id}"))["number"] == own.other_phone_number_id
    assert form(visitor.get("/send?kind=image"))["number"] == own.other_phone_number_id
    assert "number" not in form(visitor.get("/send?find=nothing"))
    assert "number" not in form(site.sign_in(site.key("--allow-all")).get("/send")), "somebody else's"


def test_a_template_of_the_account_is_filled_in(own: World, operator: Visitor, simulator: Simulator) -> None:
    here = f"/send?number={own.phone_number_id}&kind=template"
    assert "No template of this account is approved" in words(operator.get(here))
    body = {"type": "BODY", "text": "Hi {{1}}, <it> has left."}
    members = {"waba_id": simulator.waba_id, "name": "order_left", "language": "en_US", "category": "UTILITY"}
    simulator.state.templates["77"] = Template(id="77", components=[body], status="APPROVED", **members)
    assert "order_left (en_US)" in words(operator.get(here))
    chosen = operator.get(f"{here}&template=77")
    assert "Hi {{1}}, &lt;it&gt; has left." in chosen.text
    given = form(chosen) | {"to": CUSTOMER}
    assert "The template wants a value: Body: {{1}}" in words(operator.post("/send", given | {"do": "send"}))
    previewed = operator.post("/send", given | {"body-1": "Ann", "do": "preview"})
    [draft] = re.findall(r'name="json" value="([^"]*)"', previewed.text)
    as_json = {"number": own.phone_number_id, "kind": "json", "json": unescape(draft), "do": "preview"}
    edited = operator.post("/send", as_json)
    assert "order_left" in edited.text.partition("<textarea")[2].partition("</textarea>")[0]
    assert "window closed" not in words(edited), "it is a template still"
    operator.submit("/send", given | {"body-1": "Ann", "do": "send"})
    components = simulator.messages[-1].content["template"]["components"]
    assert components == [{"type": "body", "parameters": [{"type": "text", "text": "Ann"}]}]


def test_a_file_is_given_to_meta_and_sent_by_its_id(
    own: World, site: RunningConsole, operator: Visitor, simulator: Simulator
) -> None:
    members = {"number": own.phone_number_id, "kind": "image"}
    assert "Or give Meta a file" in words(operator.get(f"/send?number={own.phone_number_id}&kind=image"))
    refused = operator.post_file("/send/file", members, "a.gif", b"GIF89a", "image/gif")
    assert "WhatsApp does not take the source&#39;s Content-Type" in refused.text
    assert site.audited(eventName="PostWhatsAppMessageMedia", errorCode="InvalidParametersException")
    assert "Choose a file" in words(operator.post_file("/send/file", members, "", b"", "image/png"))
    picture = b"\x89PNG\r\n\x1a\n" + bytes(1000)
    page = operator.get(operator.post_file("/send/file", members, "a.png", picture, "image/png").headers["location"])
    media_id = re.search(r'name="media" value="(\d+)"', page.text)[1]  # type: ignore[index]
    assert simulator.media[media_id].size == len(picture)
    operator.submit("/send", form(page) | {"to": CUSTOMER, "media": media_id, "do": "send"})
    assert simulator.messages[-1].content["image"] == {"id": media_id}


def test_what_meta_refuses_is_explained(
    own: World, site: RunningConsole, operator: Visitor, simulator: Simulator
) -> None:
    given = {"number": own.phone_number_id, "kind": "json", "do": "send", "call": "1"}
    refused = operator.post("/send", given | {"json": json.dumps({"to": CUSTOMER, "type": "nothing"})})
    assert refused.status == 400
    assert 'href="/docs/errors#dependencyexception"' in refused.text
    [told] = site.audited(eventName="SendWhatsAppMessage", errorCode="DependencyException")
    assert "error" not in told["requestParameters"]
    assert form(refused)["call"] != "1"
    assert "This is not JSON" in words(operator.post("/send", given | {"json": "{"}))
    assert "business-scoped user id" in words(operator.post("/send", given | {"json": '{"to": "US.134912"}'}))
    assert simulator.messages == []


def test_only_numbers_of_the_policy_can_be_sent_from(own: World, site: RunningConsole, simulator: Simulator) -> None:
    _, visitor = site.with_policy(allow("social-messaging:SendWhatsAppMessage", resource=own.phone_number_arn))
    page = visitor.get("/send")
    assert own.other_phone_number_id not in page.text
    members = form(page) | {"to": CUSTOMER, "text": "x", "do": "send"}
    assert members["number"] == own.phone_number_id
    assert "see its statuses" not in words(visitor.submit("/send", members))
    assert visitor.post_file("/send/file", members | {"kind": "image"}, "a.png", b"x", "image/png").status == 403
    assert visitor.post("/send", members | {"number": own.other_phone_number_id}).status == 403
    assert "AccessDeniedException" in words(visitor.get(f"/send?number={own.phone_number_id}&kind=template"))
    assert len(simulator.messages) == 1
