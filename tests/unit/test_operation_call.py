"""What every operation is given: the Graph API with one token, tried again, and a circuit of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from harness.loopback import Loopback, reply
from harness.operations import TOKEN, components, number_call
from whaul.errors import AccessDeniedByMetaException, ResourceNotFoundException
from whaul.graph.client import GraphClient
from whaul.model import GraphToken, PhoneNumber
from whaul.operations.call import MAX_REFUSALS, Graph
from whaul.outbound.circuit import Circuits
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts
from whaul.transfer.attempts import Attempts

pytestmark = pytest.mark.anyio

BUSY = reply(500, {"error": {"code": 131016}})


class Thing(msgspec.Struct):
    id: str


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


def client(http: HttpClient, server: Loopback) -> GraphClient:
    return GraphClient(http, url=server.url, version="v25.0", user_agent="x", media_hosts=MediaHosts(()))


@pytest.mark.parametrize(
    ("method", "target", "ask"),
    [
        ("GET", "/v25.0/7?fields=id", lambda graph: graph.get("7", Thing, "reading", fields="id")),
        ("POST", "/v25.0/7/publish", lambda graph: graph.post("7/publish", {"a": 1}, Thing, "publishing")),
        ("POST", "/v26.0/7/publish", lambda graph: graph.post("7/publish", b"{}", Thing, "x", version="v26.0")),
        ("DELETE", "/v25.0/7?name=x", lambda graph: graph.delete("7", Thing, "deleting", name="x")),
    ],
)
async def test_a_call_goes_to_meta_with_the_token_and_is_tried_again(
    http: HttpClient, method: str, target: str, ask: Callable[[Graph], Awaitable[Thing]]
) -> None:
    async with Loopback(BUSY, reply(200, {"id": "7"})) as server:
        attempts = Attempts(asyncio.get_running_loop().time() + 20, uniform=lambda _least, _most: 0.0)
        assert await ask(Graph(client(http, server), TOKEN, attempts)) == Thing("7")
    assert [(request.method, request.target) for request in server.requests] == [(method, target)] * 2
    assert {request.headers["authorization"] for request in server.requests} == {
        f"Bearer {TOKEN.access_token.get_secret_value()}"
    }


async def test_an_edge_is_read_to_its_end_and_from_its_beginning_after_a_failure(http: HttpClient) -> None:
    first = reply(200, {"data": [{"id": "1"}], "paging": {"cursors": {"after": "A"}, "next": "x"}})
    last = reply(200, {"data": [{"id": "2"}], "paging": {"cursors": {"after": "B"}}})
    async with Loopback(first, BUSY, first, last) as server:
        attempts = Attempts(asyncio.get_running_loop().time() + 20, uniform=lambda _least, _most: 0.0)
        found = await Graph(client(http, server), TOKEN, attempts).pages("7/flows", Thing, "listing", fields="id")
    assert found == [Thing("1"), Thing("2")]
    assert [request.target.partition("?")[2] for request in server.requests] == [
        "fields=id&limit=100",
        "fields=id&limit=100&after=A",
        "fields=id&limit=100",
        "fields=id&limit=100&after=A",
    ]


async def test_a_target_that_meta_refuses_again_and_again_is_left_alone_until_it_has_another_token() -> None:
    circuits: dict[type, Any] = {PhoneNumber: Circuits(MAX_REFUSALS, 30.0, time.monotonic)}
    call = number_call({}, components(circuits=circuits))
    for _ in range(MAX_REFUSALS):
        with pytest.raises(AccessDeniedByMetaException, match=r"^Locked$"), call.circuit():
            raise AccessDeniedByMetaException("Locked")
    refusal = rf"^Locked Meta is not asked .* after {MAX_REFUSALS} such"
    with pytest.raises(AccessDeniedByMetaException, match=refusal), call.circuit():
        pytest.fail("a call went through an open circuit")
    call.target = replace(call.target, token=GraphToken(SecretStr("EAAGanother")))
    with call.circuit():
        pass


async def test_what_meta_says_of_an_object_does_not_open_a_circuit() -> None:
    call = number_call({}, components())
    for _ in range(MAX_REFUSALS + 1):
        with pytest.raises(ResourceNotFoundException), call.circuit():
            raise ResourceNotFoundException
    with call.circuit():
        pass
