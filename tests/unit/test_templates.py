"""Templates on their way to Meta: what goes over the wire, and what its answers mean."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pyreqwest.bytes import Bytes

from harness.loopback import Loopback, Reply, reply
from harness.operations import TOKEN, WABA_ID, called, components
from whaul.errors import DependencyException, InvalidParametersException
from whaul.graph.client import GraphClient
from whaul.graph.uploads import upload_example
from whaul.model import Account
from whaul.operations.components import Components
from whaul.operations.owned import Owned
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts

pytestmark = pytest.mark.anyio


class Linked:
    """Every account is linked."""

    async def linked_account(self, id_: str) -> Account:
        return Account(id_, "arn", "4712", TOKEN)


@asynccontextmanager
async def meta(*answers: Reply) -> AsyncIterator[tuple[Loopback, Components]]:
    """A Meta with these answers, and what operations need to ask it."""
    async with HttpClient() as http, Loopback(*answers) as server:
        graph = GraphClient(http, url=server.url, version="v25.0", user_agent="x", media_hosts=MediaHosts(()))
        yield server, components(linked=Linked(), graph=graph, owned=Owned())


async def test_a_definition_goes_to_meta_byte_for_byte() -> None:
    new = b'{ "name":"a",\n "allow_category_change": true, "text":"Gr\\u00fc\xc3\x9fe \\/" }'
    async with meta(reply(200, {"id": "1", "status": "LIMIT_EXCEEDED"})) as (server, parts):
        made = await called("CreateWhatsAppMessageTemplate", parts, id=WABA_ID, templateDefinition=new)
        (request,) = server.requests
    assert made == {"metaTemplateId": "1", "templateStatus": "LIMIT_EXCEEDED"}
    assert (request.target, request.body) == ("/v25.0/4712/message_templates", new)


@pytest.mark.parametrize(
    "inside", [b'"\xff"', b"nul", b"[" * 100_000, b'"\\u"'], ids=["bytes", "word", "depth", "escape"]
)
async def test_what_is_no_json_somewhere_inside_is_not_sent(inside: bytes) -> None:
    definition, listed = (b'{"name":%b}' % inside)[:6000], (b'[{"type":%b}]' % inside)[:3000]
    async with meta() as (server, parts):
        with pytest.raises(InvalidParametersException, match="must be a JSON object"):
            await called("CreateWhatsAppMessageTemplate", parts, id=WABA_ID, templateDefinition=definition)
        change = {"id": WABA_ID, "metaTemplateId": "1", "templateComponents": listed}
        with pytest.raises(InvalidParametersException, match="must be a JSON list"):
            await called("UpdateWhatsAppMessageTemplate", parts, **change)
    assert server.requests == []


async def test_only_what_is_given_is_changed_and_in_meta_s_spelling() -> None:
    shown = {"id": "1", "name": "a", "language": "en"}
    async with meta(reply(200, shown), reply(200, {"data": [shown]}), reply(200, {"success": True})) as (server, parts):
        await called(
            "UpdateWhatsAppMessageTemplate",
            parts,
            id=WABA_ID,
            metaTemplateId="1",
            templateComponents=b'[ {"type" : "BODY"} ]',
            parameterFormat="named",
            ctaUrlLinkTrackingOptedOut=False,
        )
        request = server.requests[-1]
    body = b'{"parameter_format":"NAMED","cta_url_link_tracking_opted_out":false,"components":[ {"type" : "BODY"} ]}'
    assert (request.target, request.body) == ("/v25.0/1", body)


async def test_a_filter_that_meta_does_not_take_is_the_caller_s_to_mend() -> None:
    refusal = {"error": {"message": "(#100) Param topic must be one of {…}", "code": 100}}
    async with meta(reply(400, refusal)) as (server, parts):
        with pytest.raises(InvalidParametersException):
            await called("ListWhatsAppTemplateLibrary", parts, id=WABA_ID, filters={"topic": "WEATHER"})
    assert len(server.requests) == 1


@pytest.mark.parametrize("item", [{}, {"id": "1"}, {"id": 1, "name": "a", "language": "en"}, "a", None])
async def test_a_template_that_is_not_as_documented_is_not_guessed(item: object) -> None:
    async with meta(reply(200, {"data": [item]})) as (_, parts):
        with pytest.raises(DependencyException, match="not the documented JSON"):
            await called("GetWhatsAppMessageTemplate", parts, id=WABA_ID, templateName="a", templateLanguageCode="en")


async def test_the_id_wins_and_whose_template_it_is_is_asked_once() -> None:
    shown = {"id": "1", "name": "a", "language": "en"}
    by_all = {"id": WABA_ID, "metaTemplateId": "1", "templateName": "b", "templateLanguageCode": "de"}
    async with meta(reply(200, shown), reply(200, {"data": [shown]}), reply(200, shown)) as (server, parts):
        for _ in range(2):
            found = await called("GetWhatsAppMessageTemplate", parts, **by_all)
            assert json.loads(found["template"]) == shown
        paths = [urlsplit(request.target).path for request in server.requests]
    assert paths == ["/v25.0/1", "/v25.0/4712/message_templates", "/v25.0/1", "/v25.0/1"]


async def test_a_template_is_told_whole_however_long_it_is_and_whatever_its_bytes() -> None:
    shown = b'{ "name":"a","language" :"en","id":"1","body":"%b\xff\\/" }' % (b"x" * 20_000)
    async with meta(reply(200, b'{"data":[%b]}' % shown)) as (_, parts):
        found = await called(
            "GetWhatsAppMessageTemplate", parts, id=WABA_ID, templateName="a", templateLanguageCode="en"
        )
    assert found == {"template": shown.decode(errors="replace")}


# --- the files of headers

SESSION = "upload:MTphdHRhY2htZW50OjE=?sig=ARZ-%2Fa_b.c~"


async def upload(server: Loopback, http: HttpClient) -> str:
    async def parts() -> AsyncIterator[Bytes]:
        yield Bytes(b"12")
        yield Bytes(b"345")

    graph = GraphClient(http, url=server.url, version="v25.0", user_agent="x", media_hosts=MediaHosts(()))
    return await upload_example(graph, TOKEN, "9001", parts(), size=5, mime_type="image/png", file_name="example.png")


async def test_a_session_is_opened_for_the_app_and_its_id_stays_as_it_came() -> None:
    async with HttpClient() as http, Loopback(reply(200, {"id": SESSION}), reply(200, {"h": "4::aW"})) as server:
        assert await upload(server, http) == "4::aW"
        opened, sent = server.requests
    asked = urlsplit(opened.target)
    assert asked.path == "/v25.0/9001/uploads"
    assert parse_qs(asked.query) == {
        "file_name": ["example.png"],
        "file_length": ["5"],
        "file_type": ["image/png"],
    }
    assert (sent.target, sent.body) == (f"/v25.0/{SESSION}", b"12345")
    assert sent.headers["authorization"] == f"OAuth {TOKEN.access_token.get_secret_value()}"
    assert (sent.headers["file_offset"], sent.headers["content-length"]) == ("0", "5")


@pytest.mark.parametrize(
    "id_",
    [
        "",
        "4711",
        "upload:",
        "upload:a b",
        "upload:a#b",
        "upload:a\\b",
        "upload:a\nb",
        "upload:/../debug_token",
        "upload:/%2E%2e/me",
        "upload:/./a",
        "upload:gr\xfcn",
        "Xupload:a",
        "upload:" + "a" * 4001,
    ],
)
async def test_an_id_of_a_session_that_leads_elsewhere_is_not_followed(id_: str) -> None:
    async with HttpClient() as http, Loopback(reply(200, {"id": id_})) as server:
        with pytest.raises(DependencyException):
            await upload(server, http)
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [{}, {"h": ""}, {"h": None}, {"file_offset": 3}])
async def test_an_upload_without_a_handle_has_failed(answer: dict[str, Any]) -> None:
    async with HttpClient() as http, Loopback(reply(200, {"id": SESSION}), reply(200, json.dumps(answer))) as server:
        with pytest.raises(DependencyException):
            await upload(server, http)
