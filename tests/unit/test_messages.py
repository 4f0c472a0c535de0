"""Messages to Meta: the bytes as they came, at the version that was asked for, and never twice."""

import json
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from harness.loopback import BREAK, Answer, Loopback, Received, Reply, reply
from harness.operations import components, number_call
from whaul.errors import ApiError, DependencyException, Retry
from whaul.graph.client import GraphClient, appsecret_proof
from whaul.model import GraphToken
from whaul.operations.messages import send_message
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts

pytestmark = pytest.mark.anyio

TOKEN, APP_SECRET = SecretStr("EAAGm0PX4ZCpsBAKs3cr3t"), SecretStr("0123456789abcdef0123456789abcdef")
ACCESS = GraphToken(TOKEN)
MESSAGE = b'{ "messaging_product":"whatsapp", "to":"15550100", "text":{"body":"\\ud83d\\udc4b \xc3\xa9"} }'
MEMBERS = {"metaApiVersion": "v20.0", "message": MESSAGE}
SENT = {"messaging_product": "whatsapp", "contacts": [], "messages": [{"id": "wamid.HBgL"}]}


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


async def sent(http: HttpClient, answer: Answer, token: GraphToken = ACCESS) -> tuple[str | None, Received]:
    async with Loopback(answer) as server:
        graph = GraphClient(
            http, url=server.url, version="v25.0", user_agent="whaul/test", media_hosts=MediaHosts(["127.0.0.1"])
        )
        document = await send_message(number_call(MEMBERS, components(graph=graph), token))
        (request,) = server.requests
    return document.get("messageId"), request


async def test_a_message_is_sent_byte_for_byte_at_its_own_version(http: HttpClient) -> None:
    message_id, request = await sent(http, reply(200, SENT))
    assert message_id == "wamid.HBgL"
    assert (request.method, request.target) == ("POST", "/v20.0/4711/messages")
    assert request.body == MESSAGE
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {TOKEN.get_secret_value()}"


async def test_a_proof_goes_along_when_there_is_an_app_secret(http: HttpClient) -> None:
    _, request = await sent(http, reply(200, SENT), GraphToken(TOKEN, APP_SECRET))
    assert request.target == f"/v20.0/4711/messages?appsecret_proof={appsecret_proof(TOKEN, APP_SECRET)}"


async def test_a_message_that_is_marked_as_read_has_no_id(http: HttpClient) -> None:
    message_id, _ = await sent(http, reply(200, {"success": True}))
    assert message_id is None


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, b"nonsense"),
        reply(200, {}),
        reply(200, {"success": False}),
        reply(200, {"messages": [{"no": "id"}]}),
        reply(200, {"messages": "wamid.HBgL"}),
        reply(302, b"", location="http://127.0.0.1:1/"),
        reply(500, json.dumps({"error": {"code": 131000}})),
        reply(200, json.dumps(SENT)[:-5], content_length=200),
        Reply(b"HTTP/1.1 200", closes=True),
        BREAK,
    ],
)
async def test_what_may_have_been_sent_is_not_to_be_sent_again(http: HttpClient, answer: Answer) -> None:
    with pytest.raises(ApiError) as caught:
        await sent(http, answer)
    assert type(caught.value) is DependencyException
    assert caught.value.retry is Retry.NO
    assert "15550100" not in caught.value.message


async def test_what_cannot_have_been_sent_is_tried_again(http: HttpClient) -> None:
    async with Loopback() as server:
        pass
    graph = GraphClient(
        http, url=server.url, version="v25.0", user_agent="whaul/test", media_hosts=MediaHosts(["127.0.0.1"])
    )
    with pytest.raises(DependencyException) as caught:
        await send_message(number_call(MEMBERS, components(graph=graph)))
    assert caught.value.retry is Retry.YES
