"""Meta's answers: whatever comes, the call ends in a sound value or in an error, and the token stays home."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from harness.examples import examples, json_values, spoilt
from harness.peer import Peer, answer
from whaul.api import response
from whaul.errors import ApiError, DependencyException
from whaul.graph.client import GraphClient
from whaul.graph.media import MediaSource
from whaul.model import GraphToken, MediaInfo
from whaul.operations.waba import read_account
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts
from whaul.outbound.response import MAX_RESPONSE_SIZE
from whaul.settings import Settings, SettingsError

TOKEN, APP_SECRET = "EAAhostile-token", "hostile-app-secret"
ACCESS = GraphToken(SecretStr(TOKEN), SecretStr(APP_SECRET))
DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
GOOD = {"url": "https://lookaside.fbsbx.com/x", "mime_type": "image/jpeg", "sha256": DIGEST, "file_size": 3, "id": "1"}
ERROR = {"error": {"message": "told", "code": 100, "error_subcode": 33, "fbtrace_id": "A", "is_transient": False}}
TOLD = "\u2603told by the other side"


def client(http: HttpClient, peer: Peer, on_usage: Callable[[Any], None] = lambda _usage: None) -> GraphClient:
    """A client that may send the token to the peer, and to no other port."""
    return GraphClient(
        http,
        url=peer.url,
        version="v25.0",
        user_agent="whaul/0",
        media_hosts=MediaHosts([peer.host]),
        on_usage=on_usage,
    )


def media(loop: asyncio.Runner, http: HttpClient, peer: Peer) -> MediaInfo | ApiError:
    """What reading a description comes to; anything but these two fails the test."""
    try:
        info = loop.run(MediaSource(client(http, peer), ACCESS, "1").describe())
    except ApiError as error:
        checked(error)
        return error
    assert info.file_size >= 0
    assert len(info.sha256) == 32
    assert info.mime_type.isascii()
    assert info.mime_type.isprintable()
    response.body({"fileSize": info.file_size, "mimeType": info.mime_type})
    return info


def download(loop: asyncio.Runner, http: HttpClient, peer: Peer, url: str) -> bytes | ApiError:
    """What a download comes to."""
    info = MediaInfo("image/jpeg", 3, bytes.fromhex(DIGEST), url)

    async def read() -> bytes:
        async with MediaSource(client(http, peer), ACCESS, "1").download(info) as opened:
            found = await opened.read(100)
            return found.to_bytes() if found else b""

    try:
        return loop.run(read())
    except ApiError as error:
        checked(error)
        return error


def checked(error: ApiError) -> None:
    """An error that can be told, and that does not tell what it should not."""
    body, headers = response.error(error)
    assert json.loads(body)["message"] == error.message
    assert all(name.isascii() and value.isascii() and value.isprintable() for name, value in headers)
    assert len(error.message) < 10_000
    assert not any(secret in error.message for secret in (TOKEN, APP_SECRET, TOLD))


def json_answer(status: int, document: Any, *headers: bytes) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode("utf-8", "surrogatepass")
    return answer(status, body, b"Content-Type: application/json", *headers)


def with_member(good: dict[str, Any], text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """The good object with one member replaced by something else."""
    replaced = st.dictionaries(st.sampled_from(sorted(good)), json_values(text), min_size=1, max_size=1)
    return replaced.map(lambda member: good | member)


STATUSES = st.sampled_from([200, 200, 200, 201, 204, 206, 400, 401, 403, 404, 429, 500, 503, 599, 999])


@examples(100)
@given(STATUSES, json_values(st.sampled_from([*GOOD, *ERROR["error"], "error", TOLD]) | st.text(max_size=6)))
def test_any_json_is_a_description_or_an_error(
    loop: asyncio.Runner, http: HttpClient, running_peer: Peer, status: int, document: Any
) -> None:
    running_peer.reset(json_answer(status, document))
    media(loop, http, running_peer)


@examples(80)
@given(STATUSES, with_member(GOOD, st.sampled_from([TOLD, "9" * 5000, "-1"]) | st.text()))
def test_any_value_in_a_description_makes_a_description_or_an_error(
    loop: asyncio.Runner, http: HttpClient, running_peer: Peer, status: int, document: Any
) -> None:
    running_peer.reset(json_answer(status, document))
    media(loop, http, running_peer)


@examples(80)
@given(STATUSES, with_member(ERROR["error"], st.just(TOLD) | st.text(max_size=6)))
def test_any_value_in_an_error_of_meta_makes_an_error(
    loop: asyncio.Runner, http: HttpClient, running_peer: Peer, status: int, error: Any
) -> None:
    running_peer.reset(json_answer(status, {"error": error}))
    assert isinstance(media(loop, http, running_peer), ApiError)


@examples(100)
@given(st.sampled_from([GOOD, ERROR]), st.data())
def test_spoilt_json_is_a_description_or_an_error(
    loop: asyncio.Runner, http: HttpClient, running_peer: Peer, document: Any, data: st.DataObject
) -> None:
    running_peer.reset(json_answer(200, data.draw(spoilt(json.dumps(document).encode()))))
    media(loop, http, running_peer)


@examples(100)
@given(st.data())
def test_a_spoilt_answer_is_a_description_or_an_error(
    loop: asyncio.Runner, http: HttpClient, running_peer: Peer, data: st.DataObject
) -> None:
    whole = json_answer(200, GOOD, b"X-App-Usage: {}", b"Retry-After: 1")
    running_peer.reset(data.draw(spoilt(whole)))
    media(loop, http, running_peer)


NUMBERS = [
    "0",
    "-0",
    "1e308",
    "-1e308",
    "1e999",
    "9" * 400,
    "NaN",
    "Infinity",
    "null",
    '"1"',
    "[]",
    "{}",
    "1.5",
    "true",
]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:12])
def test_any_number_in_the_usage_headers_is_counted_or_left_aside(
    number: str, loop: asyncio.Runner, http: HttpClient, peer: Peer
) -> None:
    usage = f'{{"call_count": {number}, "estimated_time_to_regain_access": {number}}}'
    headers = [f"X-App-Usage: {usage}", f'X-Business-Use-Case-Usage: {{"1": [{usage}]}}', f"Retry-After: {number}"]
    throttle = {"error": {"code": 4}}
    peer.reset(json_answer(400, throttle, *(header.encode() for header in headers)))
    seen: list[float] = []
    with pytest.raises(ApiError) as caught:
        loop.run(MediaSource(client(http, peer, lambda found: seen.extend(found.values())), ACCESS, "1").describe())
    checked(caught.value)
    assert caught.value.retry_after is None or 0 <= caught.value.retry_after <= 24 * 3600
    assert all(isinstance(value, float | int) for value in seen)


DEEP = 100_000
BODIES = {
    "deep lists": b"[" * DEEP,
    "deep closed lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"error":' * 50_000 + b"1" + b"}" * 50_000,
    "deep in a member": b'{"error":{"code":1,"message":' + b"[" * DEEP + b"]" * DEEP + b"}}",
    "deep in an unknown member": b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a huge number": b'{"error":{"code":' + b"9" * 500_000 + b"}}",
    "a long number": b'{"error":{"code":' + b"9" * 4000 + b"}}",
    "a huge exponent": b'{"error":{"code":1e' + b"9" * 500_000 + b"}}",
    "NaN": b'{"error":{"code":NaN}}',
    "more than a mebibyte": b'{"error":{"code":1,"message":"' + b"x" * (MAX_RESPONSE_SIZE + 1) + b'"}}',
    "many members": b"{" + b",".join(b'"%d":0' % i for i in range(60_000)) + b"}",
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "lone surrogates": b'{"url":"\\ud800","mime_type":"a/b","sha256":"x","file_size":1}',
    "nothing": b"",
    "HTML": b"<html>told</html>",
}


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_made_to_exhaust_a_parser_is_an_error(
    body: bytes, status: int, loop: asyncio.Runner, http: HttpClient, peer: Peer
) -> None:
    peer.reset(json_answer(status, body))
    assert isinstance(media(loop, http, peer), ApiError)


@pytest.mark.parametrize(
    "members",
    [b'"file_size": 3, "file_size": 4', b'"url": "https://a.example", "url": "https://b.example"'],
    ids=["size", "url"],
)
def test_of_a_member_told_twice_the_last_counts(
    members: bytes, loop: asyncio.Runner, http: HttpClient, peer: Peer
) -> None:
    document = json.dumps(GOOD).encode()[:-1] + b", " + members + b"}"
    peer.reset(json_answer(200, document))
    info = media(loop, http, peer)
    assert isinstance(info, MediaInfo)
    assert (info.file_size, info.url) == (json.loads(document)["file_size"], json.loads(document)["url"])


@pytest.mark.parametrize(
    "mime_type",
    [
        "",
        "image",
        "image/",
        "image/jpeg\r\nx-evil: 1",
        "imag\u00e9/jpeg",
        "image/\u0131",
        "a/b; \u00e9",
        "a/b;\x00",
        "a b/c",
    ],
    ids=ascii,
)
def test_a_mime_type_that_no_header_can_carry_is_an_error(
    mime_type: str, loop: asyncio.Runner, http: HttpClient, peer: Peer
) -> None:
    peer.reset(json_answer(200, GOOD | {"mime_type": mime_type}))
    assert isinstance(media(loop, http, peer), DependencyException)


HEADS = {
    "bytes that are not ASCII": [
        b"Location: \xff\xfe",
        b"ETag: \xe9",
        b"Content-Type: \xc3\xa9/\xff",
        b"Retry-After: \xff",
    ],
    "no header at all": [],
    "99 headers": [b"X-%d: a" % i for i in range(97)],
    "more headers than a client holds": [b"X-%d: a" % i for i in range(5000)],
    "a huge header": [b"X: " + b"a" * 1_000_000],
    "a Content-Encoding": [b"Content-Encoding: gzip"],
    "two types": [b"Content-Type: text/html", b"Content-Type: image/jpeg"],
    "two lengths": [b"Content-Length: 5"],
    "chunks and a length": [b"Transfer-Encoding: chunked"],
    "a switch of protocols": [b"Upgrade: h2c", b"Connection: Upgrade"],
}


@pytest.mark.parametrize("status", [200, 101, 206, 302, 304, 401, 404, 500])
@pytest.mark.parametrize("headers", HEADS.values(), ids=HEADS.keys())
def test_any_head_of_an_answer_is_a_file_or_an_error(
    headers: list[bytes], status: int, loop: asyncio.Runner, http: HttpClient, peer: Peer
) -> None:
    peer.reset(answer(status, b"abc", *headers))
    assert isinstance(download(loop, http, peer, f"{peer.url}/file"), bytes | ApiError)
    peer.reset(answer(status, json.dumps(GOOD).encode(), *headers))
    media(loop, http, peer)


# --- where the token goes ----------------------------------------------------------------------------------------

SPELLINGS = [
    "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://127.1:{port}/", "http://2130706433:{port}/",
    "http://0x7f000001:{port}/", "http://0x7f.0.0.1:{port}/", "http://0177.0.0.1:{port}/", "http://017700000001:{port}/",
    "http://127.0.0.1.:{port}/", "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/", "http://[64:ff9b::127.0.0.1]:{port}/", "http://[2002:7f00:1::]:{port}/",
    "http://[::127.0.0.1]:{port}/", "http://0:{port}/", "http://0.0.0.0:{port}/", "http://[::]:{port}/",
    "http://{allowed}@127.0.0.1:{port}/", "http://user:{token}@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@{allowed}/",
    "http://127.0.0.1:{port}?@{allowed}/", "http://127.0.0.1:{port}\\@{allowed}/", "http://{allowed}\\@127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}/", "//127.0.0.1:{port}/", "///127.0.0.1:{port}/", "/\\127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/", "http:127.0.0.1:{port}/", "HTTP://127.0.0.1:{port}/", "https://127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/", "file:///etc/hostname", "data:image/jpeg,abc", "javascript:1", "gopher://127.0.0.1:{port}/",
    "http://127.0.0.1:0{port}/", "http://127.0.0.1:{port} /", "\thttp://127.0.0.1:{port}/", "http://127.0.0.1\t:{port}/",
    "http://%31%32%37.0.0.1:{port}/", "http://127.0.0.1:{port}/../", "http://[::1", "http://[", "//[", "http://[v1.x]/",
    "http://" + "a" * 300 + ".example/", "http://", "://", "http://:{port}/", "http://127.0.0.1:99999/",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_redirect_takes_the_token_nowhere_else(
    spelling: str, loop: asyncio.Runner, http: HttpClient, peer: Peer, stranger: Peer
) -> None:
    location = spelling.format(port=stranger.port, allowed=peer.host, token=TOKEN).encode()
    peer.reset(answer(302, b"", b"Location: " + location))
    assert isinstance(download(loop, http, peer, f"{peer.url}/file"), DependencyException)
    assert stranger.connections == 0


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_described_download_url_takes_the_token_nowhere_else(
    spelling: str, loop: asyncio.Runner, http: HttpClient, peer: Peer, stranger: Peer
) -> None:
    url = spelling.format(port=stranger.port, allowed=peer.host, token=TOKEN)
    assert isinstance(download(loop, http, peer, url), DependencyException)
    assert (stranger.connections, peer.connections) == (0, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304, 305, 306])
def test_the_graph_api_itself_is_not_followed_elsewhere(
    status: int, loop: asyncio.Runner, http: HttpClient, peer: Peer, stranger: Peer
) -> None:
    peer.reset(answer(status, b"", b"Location: " + stranger.url.encode(), b"Refresh: 0; url=" + stranger.url.encode()))
    assert isinstance(media(loop, http, peer), ApiError)
    assert stranger.connections == 0
    assert peer.connections == 1


@examples(100)
@given(st.data())
def test_a_spoilt_redirect_takes_the_token_nowhere_else(
    loop: asyncio.Runner, http: HttpClient, running_peer: Peer, running_stranger: Peer, data: st.DataObject
) -> None:
    location = data.draw(spoilt(f"http://{running_peer.host}/next?a=b".encode()))
    wanted = f"http://{running_stranger.host}/".encode()
    location = data.draw(st.sampled_from([location, wanted + location, location + wanted]))
    running_stranger.reset()
    running_peer.reset(answer(302, b"", b"Location: " + location))
    assert isinstance(download(loop, http, running_peer, f"{running_peer.url}/file"), bytes | ApiError)
    assert running_stranger.connections == 0


def test_a_redirect_loop_ends(loop: asyncio.Runner, http: HttpClient, peer: Peer) -> None:
    peer.reset(answer(302, b"", b"Location: /again"))
    assert isinstance(download(loop, http, peer, f"{peer.url}/file"), DependencyException)
    assert peer.connections == 4


@pytest.mark.parametrize("location", [b"/next", b"next", b"?a=b", b"", b"./next", b"//%s/next"])
def test_a_relative_redirect_stays_with_the_allowed_host(
    location: bytes, loop: asyncio.Runner, http: HttpClient, peer: Peer
) -> None:
    if b"%s" in location:
        location %= peer.host.encode()
    peer.reset(
        lambda _request: answer(302, b"", b"Location: " + location) if peer.connections == 1 else answer(200, b"abc")
    )
    assert download(loop, http, peer, f"{peer.url}/file") == b"abc"
    assert all(b"Bearer " + TOKEN.encode() in request for request in peer.received)


def test_the_app_secret_is_sent_to_nobody(loop: asyncio.Runner, http: HttpClient, peer: Peer) -> None:
    peer.reset(json_answer(200, GOOD))
    media(loop, http, peer)
    peer.answer = answer(200, b"abc")
    assert download(loop, http, peer, f"{peer.url}/file") == b"abc"
    assert not any(APP_SECRET.encode() in request for request in peer.received)
    assert b"appsecret_proof=" in peer.received[0]
    assert b"appsecret_proof=" not in peer.received[1]


# --- reading an account ------------------------------------------------------------------------------------------


@examples(80)
@given(json_values(st.sampled_from(["data", "id", "paging", "cursors", "after", "next", TOLD]) | st.text(max_size=4)))
def test_any_json_is_an_account_or_an_error(
    loop: asyncio.Runner, http: HttpClient, running_peer: Peer, document: Any
) -> None:
    running_peer.reset(json_answer(200, document))
    try:
        loop.run(read_account(client(http, running_peer), ACCESS, "1"))
    except ApiError as error:
        checked(error)


def test_a_list_of_phone_numbers_without_end_is_an_error(loop: asyncio.Runner, http: HttpClient, peer: Peer) -> None:
    def page(_request: bytes) -> bytes:
        paging = {"cursors": {"after": str(peer.connections)}, "next": "more"}
        return json_answer(200, {"id": "1", "data": [{"id": "2"}], "paging": paging})

    peer.reset(page)
    with pytest.raises(DependencyException):
        loop.run(read_account(client(http, peer), ACCESS, "1"))


@pytest.mark.parametrize("authority", ["user:word@", ":word@", "user@", "@", ":@"])
def test_no_user_is_taken_into_the_graph_url_where_it_would_be_logged(
    authority: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHAUL_GRAPH_URL", f"https://{authority}graph.facebook.com")
    with pytest.raises(SettingsError, match="WHAUL_GRAPH_URL"):
        Settings.load()
