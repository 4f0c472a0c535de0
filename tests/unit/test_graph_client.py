"""The Graph API client over real connections: what it sends where, and what it makes of the answers."""

import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from harness.loopback import BREAK, Answer, Loopback, reply
from whaul.errors import (
    AccessDeniedByMetaException,
    ApiError,
    DependencyException,
    ResourceNotFoundException,
    Retry,
    ThrottledRequestException,
)
from whaul.graph.client import GraphClient, appsecret_proof
from whaul.graph.media import MediaSource
from whaul.model import GraphToken, MediaInfo, MetaAccount
from whaul.operations.waba import read_account, with_token
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts

pytestmark = pytest.mark.anyio

TOKEN, APP_SECRET = "EAAGm0PX4ZCpsBAKs3cr3t", "0123456789abcdef0123456789abcdef"
ACCESS = GraphToken(SecretStr(TOKEN))
NEW, KNOWN = MetaAccount("102", "Shrub", ()), datetime(2030, 1, 1, tzinfo=UTC)
FILE = b"a file" * 100
DIGEST = hashlib.sha256(FILE).digest()
DESCRIBED = {
    "messaging_product": "whatsapp",
    "url": "https://lookaside.fbsbx.com/x?mid=1&hash=2",
    "mime_type": "image/jpeg",
    "sha256": DIGEST.hex(),
    "file_size": len(FILE),
    "id": "42",
}


@dataclass
class Meta:
    """Clients of loopback servers, and what they told of Meta's usage."""

    http: HttpClient
    usages: list[dict[tuple[str, str], float]] = field(default_factory=list)

    def client(self, server: Loopback, *hosts: str) -> GraphClient:
        return GraphClient(
            self.http,
            url=server.url,
            version="v25.0",
            user_agent="whaul/test",
            media_hosts=MediaHosts(hosts or (f"127.0.0.1:{server.port}",)),
            on_usage=lambda usage: self.usages.append(dict(usage)),
        )


@pytest.fixture
async def meta() -> AsyncIterator[Meta]:
    async with HttpClient() as http:
        yield Meta(http)


def info(url: str, **changes: object) -> MediaInfo:
    values = {"mime_type": "image/jpeg", "file_size": len(FILE), "sha256": DIGEST} | changes
    return MediaInfo(url=url, **values)  # type: ignore[arg-type]


async def described(meta: Meta, answer: Answer, token: GraphToken = ACCESS) -> MediaInfo:
    async with Loopback(answer) as server:
        return await MediaSource(meta.client(server), token, "42").describe()


async def refused(meta: Meta, kind: type[ApiError], answer: Answer) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await described(meta, answer)
    assert type(caught.value) is kind
    hide_secrets(caught.value)
    return caught.value


def hide_secrets(error: ApiError) -> None:
    for hidden in (TOKEN, APP_SECRET, "hash=2", "127.0.0.1", "lookaside"):
        assert hidden not in error.message


# --- hop 1


async def test_a_media_id_is_resolved(meta: Meta) -> None:
    async with Loopback(reply(200, DESCRIBED)) as server:
        found = await MediaSource(meta.client(server), ACCESS, "42").describe()
        (request,) = server.requests
    assert found == MediaInfo("image/jpeg", len(FILE), DIGEST, str(DESCRIBED["url"]))
    assert (request.method, request.target) == ("GET", "/v25.0/42"), "phone_number_id is not among what is sent"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["user-agent"] == "whaul/test"


@pytest.mark.parametrize(
    ("members", "size", "digest"),
    [
        ({"file_size": "600"}, 600, DIGEST),
        ({"file_size": 0}, 0, DIGEST),
        ({"sha256": DIGEST.hex().upper()}, 600, DIGEST),
        ({"sha256": base64.b64encode(DIGEST).decode()}, 600, DIGEST),
        ({"tomorrow": [1]}, 600, DIGEST),
    ],
)
async def test_metas_looser_forms_are_read_too(
    meta: Meta, members: dict[str, object], size: int, digest: bytes
) -> None:
    found = await described(meta, reply(200, DESCRIBED | members))
    assert (found.file_size, found.sha256) == (size, digest)


@pytest.mark.parametrize(
    "mime_type", ["audio/ogg; codecs=opus", "application/vnd.ms-excel", "x-a+b/c.d_e", "IMAGE/JPEG"]
)
async def test_the_mime_type_is_metas_unchanged(meta: Meta, mime_type: str) -> None:
    assert (await described(meta, reply(200, DESCRIBED | {"mime_type": mime_type}))).mime_type == mime_type


NO_DIGESTS = [
    "",
    "ab",
    DIGEST.hex()[:-2],
    DIGEST.hex() + "00",
    "g" * 64,
    " " * 64,
    "!" + base64.b64encode(DIGEST).decode(),
]


@pytest.mark.parametrize(
    "members",
    [
        *({"file_size": bad} for bad in (-1, 1.5, True, None, "", "-1", "1.5", "1e3", "٣", " 1", "9" * 30, [1])),
        *({"sha256": bad} for bad in (*NO_DIGESTS, 7, None, base64.b64encode(DIGEST[:-1]).decode())),
        *({"mime_type": bad} for bad in ("", "image", "image/", "a/b\r\nx: y", "a/b; ä", "imagé/jpeg", "a b/c", None)),
        *({"url": bad} for bad in (None, 7)),
    ],
)
async def test_an_answer_of_another_form_is_no_description(meta: Meta, members: dict[str, object]) -> None:
    error = await refused(meta, DependencyException, reply(200, DESCRIBED | members))
    assert "not the documented JSON" in error.message
    assert error.retry is Retry.YES


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"url": "\\ud800"}'])
async def test_an_answer_that_is_no_json_is_no_description(meta: Meta, body: bytes) -> None:
    assert (await refused(meta, DependencyException, reply(200, body))).retry is Retry.YES


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(400, {"error": {"code": 190, "message": TOKEN}}), AccessDeniedByMetaException),
        (reply(400, {"error": {"code": 100, "error_subcode": 33}}), ResourceNotFoundException),
        (reply(400, {"error": {"code": 4}}), ThrottledRequestException),
        (reply(302, b"", location="https://evil.example"), DependencyException),
        (reply(200, b"x" * (1024 * 1024 + 1)), DependencyException),
        (BREAK, DependencyException),
        (reply(200, b"{", content_length=100), DependencyException),
    ],
)
async def test_another_answer_is_the_error_that_it_tells_of(meta: Meta, answer: Answer, kind: type[ApiError]) -> None:
    await refused(meta, kind, answer)


async def test_a_graph_api_that_cannot_be_reached_is_a_failed_dependency(meta: Meta) -> None:
    async with Loopback() as server:
        client = meta.client(server)
    with pytest.raises(DependencyException, match="could not be made") as caught:
        await MediaSource(client, ACCESS, "42").describe()
    hide_secrets(caught.value)


def test_the_proof_is_the_hmac_that_meta_computes() -> None:
    # RFC 4231, test case 2
    proof = appsecret_proof(SecretStr("what do ya want for nothing?"), SecretStr("Jefe"))
    assert proof == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


async def test_with_an_app_secret_calls_to_the_graph_api_carry_its_proof_and_downloads_do_not(meta: Meta) -> None:
    token = GraphToken(SecretStr(TOKEN), SecretStr(APP_SECRET))
    async with Loopback(reply(200, DESCRIBED), reply(200, FILE)) as server:
        source = MediaSource(meta.client(server), token, "42")
        await source.describe()
        async with source.download(info(f"{server.url}/x")):
            pass
        first, second = server.requests
    proof = appsecret_proof(token.access_token, SecretStr(APP_SECRET))
    assert parse_qs(urlsplit(first.target).query) == {"appsecret_proof": [proof]}
    assert second.target == "/x"


async def test_metas_usage_is_passed_on_whatever_the_answer(meta: Meta) -> None:
    await described(meta, reply(200, DESCRIBED))
    await described(meta, reply(200, DESCRIBED, x_app_usage='{"call_count": 7}'))
    await refused(meta, ThrottledRequestException, reply(429, {}, x_app_usage='{"call_count": 100}'))
    assert meta.usages == [{("app", ""): 7.0}, {("app", ""): 100.0}]


# --- hop 2


async def download(meta: Meta, server: Loopback, url: str, *hosts: str, **changes: object) -> bytes:
    async with MediaSource(meta.client(server, *hosts), ACCESS, "42").download(info(url, **changes)) as opened:
        return bytes(await opened.read(10_000) or b"")


async def failed_download(meta: Meta, kind: type[ApiError], *answers: Answer, **changes: object) -> ApiError:
    async with Loopback(*answers) as server:
        with pytest.raises(ApiError) as caught:
            await download(meta, server, f"{server.url}/x?hash=2", **changes)
    assert type(caught.value) is kind, caught.value.message
    hide_secrets(caught.value)
    return caught.value


async def test_a_file_is_downloaded_with_token_and_user_agent_and_without_compression(meta: Meta) -> None:
    async with Loopback(reply(200, FILE, content_type="application/octet-stream")) as server:
        assert await download(meta, server, f"{server.url}/x?hash=2") == FILE
        (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["user-agent"] == "whaul/test"
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/there?a=b", "{url}/there?a=b"])
async def test_a_redirect_to_an_allowed_host_is_followed_with_the_token(meta: Meta, status: int, location: str) -> None:
    async with Loopback(reply(200, FILE)) as there:
        aim = location.format(url=there.url)
        async with Loopback(reply(status, b"", location=aim), reply(200, FILE)) as server:
            assert await download(meta, server, f"{server.url}/x", "127.0.0.1") == FILE
            request = (server.requests + there.requests)[-1]
    assert request.target == "/there?a=b"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_forbidden_host_is_never_connected_to(meta: Meta) -> None:
    async with Loopback() as forbidden, Loopback(reply(302, b"", location=f"{forbidden.url}/x")) as server:
        for url in (f"{forbidden.url}/x", f"{server.url}/x", f"http://{TOKEN}@127.0.0.1:{server.port}/x", "nonsense"):
            with pytest.raises(DependencyException, match="may not be sent the token") as caught:
                await download(meta, server, url)
            assert caught.value.retry is Retry.NO
            hide_secrets(caught.value)
        assert (forbidden.connections, len(server.requests)) == (0, 1)


@pytest.mark.parametrize(
    "location", ["http://[", "//[::1", "javascript:x", "https://evil.example/x", "\\\\evil.example\\x"]
)
async def test_a_redirect_to_nowhere_usable_is_refused(meta: Meta, location: str) -> None:
    error = await failed_download(meta, DependencyException, reply(302, b"", location=location))
    assert error.retry is Retry.NO


@pytest.mark.parametrize("answer", [reply(302, b"", location="/x"), reply(302, b"")])
async def test_redirects_in_a_circle_come_to_an_end(meta: Meta, answer: Answer) -> None:
    async with Loopback(answer) as server:
        with pytest.raises(DependencyException, match="too many redirects"):
            await download(meta, server, f"{server.url}/x")
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AccessDeniedByMetaException), (403, AccessDeniedByMetaException), (404, ResourceNotFoundException)],
)
async def test_a_refused_download_url_may_be_resolved_again_once(meta: Meta, status: int, kind: type[ApiError]) -> None:
    error = await failed_download(meta, kind, reply(status, {"error": {"code": 190}}))
    assert error.retry is Retry.ONCE


@pytest.mark.parametrize(
    ("answer", "changes", "retry"),
    [
        (reply(500, b""), {}, Retry.YES),
        (reply(400, b""), {}, Retry.NO),
        (reply(204, b""), {}, Retry.YES),
        (reply(206, FILE), {}, Retry.YES),
        (reply(200, FILE, content_type="text/html"), {}, Retry.FEW),
        (reply(200, FILE, content_type="Text/HTML; charset=utf-8"), {}, Retry.FEW),
        (reply(200, FILE), {"file_size": len(FILE) - 1}, Retry.FEW),
        (reply(200, FILE), {"file_size": len(FILE) + 1}, Retry.FEW),
        (reply(200, FILE, content_length=len(FILE) + 1), {}, Retry.YES),
        (BREAK, {}, Retry.YES),
    ],
)
async def test_what_is_not_the_described_file_is_not_read(
    meta: Meta, answer: Answer, changes: dict[str, object], retry: Retry
) -> None:
    assert (await failed_download(meta, DependencyException, answer, **changes)).retry is retry


async def test_an_html_page_that_was_described_as_one_is_a_file(meta: Meta) -> None:
    async with Loopback(reply(200, FILE, content_type="text/html")) as server:
        assert await download(meta, server, f"{server.url}/x", mime_type="text/html; charset=utf-8") == FILE


# --- accounts


def number(meta_id: str) -> dict[str, str]:
    return {"id": meta_id, "display_phone_number": f"+{meta_id}", "verified_name": "N", "quality_rating": "GREEN"}


def page(*ids: str, after: str | None = None) -> Answer:
    paging = {"cursors": {"before": "b", "after": after}, "next": "https://evil.example/next"} if after else {}
    return reply(200, {"data": [number(meta_id) for meta_id in ids], "paging": paging})


ACCOUNT = reply(200, {"id": "7", "name": "Harbour"})


async def test_an_account_is_read_with_all_pages_of_its_numbers(meta: Meta) -> None:
    async with Loopback(ACCOUNT, page("1", "2", after="A"), page("3", after="B"), page("4")) as server:
        account = await read_account(meta.client(server), ACCESS, "7")
        targets = [parse_qs(urlsplit(request.target).query) for request in server.requests]
    assert (account.meta_waba_id, account.name) == ("7", "Harbour")
    assert [n.meta_id for n in account.phone_numbers] == ["1", "2", "3", "4"]
    assert account.phone_numbers[0].display_phone_number == "+1"
    assert [query.get("after") for query in targets[1:]] == [None, ["A"], ["B"]]
    assert all("verified_name" in query["fields"][0] for query in targets[1:])


@pytest.mark.parametrize(
    "last",
    [
        page(),
        page("1", after=""),
        reply(200, {"data": []}),
        reply(200, {"data": [], "paging": {"cursors": {"after": "A"}}}),
    ],
)
async def test_pages_end_where_meta_names_no_next_one(meta: Meta, last: Answer) -> None:
    async with Loopback(ACCOUNT, last) as server:
        await read_account(meta.client(server), ACCESS, "7")
        assert len(server.requests) == 2


async def test_pages_end_when_meta_repeats_itself(meta: Meta) -> None:
    async with Loopback(ACCOUNT, page("1", after="A")) as server:
        await read_account(meta.client(server), ACCESS, "7")
        assert len(server.requests) == 3


async def test_a_number_without_details_is_taken_as_it_is(meta: Meta) -> None:
    async with Loopback(ACCOUNT, reply(200, {"data": [{"id": "1"}]})) as server:
        (found,) = (await read_account(meta.client(server), ACCESS, "7")).phone_numbers
    assert (found.meta_id, found.display_phone_number, found.quality_rating) == ("1", "", "UNKNOWN")


@pytest.mark.parametrize("token", ["EAAG\ns3cr3t", "", "EAAG\x00s3cr3t", "EAAGs3cr\u00e9t", "EAAG s3cr3t"])
async def test_a_stored_token_that_cannot_be_sent_is_refused_by_name_and_not_repeated(meta: Meta, token: str) -> None:
    async with Loopback(reply(200, DESCRIBED)) as server:
        with pytest.raises(AccessDeniedByMetaException, match=r"The stored access token .* link") as caught:
            await MediaSource(meta.client(server), GraphToken(SecretStr(token)), "42").describe()
    assert "s3cr3t" not in str(caught.value)
    assert server.requests == []


def token_of(**members: object) -> Answer:
    return reply(200, {"data": {"is_valid": True} | members})


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (token_of(), None),
        (token_of(expires_at=0, data_access_expires_at=0), None),
        (token_of(expires_at=1_800_000_000), 1_800_000_000),
        (token_of(expires_at=0, data_access_expires_at=1_700_000_000), 1_700_000_000),
        (token_of(expires_at=1_800_000_000, data_access_expires_at=1_700_000_000), 1_700_000_000),
        (token_of(expires_at=1_600_000_000, data_access_expires_at=1_700_000_000), 1_600_000_000),
        (token_of(expires_at=-1), None),
        (token_of(expires_at=10**30), None),
        (token_of(expires_at="soon", data_access_expires_at=None), None),
    ],
)
async def test_a_token_ends_with_whatever_ends_first(meta: Meta, answer: Answer, ends: int | None) -> None:
    async with Loopback(answer) as server:
        found = await with_token(meta.client(server), ACCESS, NEW, replace(NEW, token_expires_at=KNOWN))
        (request,) = server.requests
    assert found.token_expires_at == (None if ends is None else datetime.fromtimestamp(ends, UTC))
    assert request.target.partition("?")[0].endswith("/debug_token")


@pytest.mark.parametrize(
    "answer",
    [
        reply(400, {"error": {"message": "no", "code": 100}}),
        reply(401, {"error": {"message": "no", "code": 190}}),
        reply(500, b"broken"),
        reply(200, b"no JSON"),
        reply(200, {"data": {"is_valid": False, "expires_at": 5}}),
        BREAK,
    ],
)
async def test_an_end_that_meta_does_not_tell_is_what_is_known(meta: Meta, answer: Answer) -> None:
    known = replace(NEW, token_expires_at=KNOWN, app_id="600")
    async with Loopback(answer) as server:
        assert await with_token(meta.client(server), ACCESS, NEW, known) == known
        assert await with_token(meta.client(server), ACCESS, NEW) == NEW
