"""Which requests go through a proxy, by the environment."""

import re

import pytest
from pyreqwest.http import Url

from harness.loopback import Loopback, reply
from whaul.errors import Retry
from whaul.outbound.errors import HttpError
from whaul.outbound.http import HttpClient
from whaul.outbound.proxies import Proxies, ProxyError

PROXY = "http://proxy.example:3128"


def used(no_proxy: str, url: str) -> bool:
    return Proxies.named_in({"https_proxy": PROXY, "http_proxy": PROXY, "NO_PROXY": no_proxy}).is_used_for(Url(url))


@pytest.mark.parametrize(
    ("environ", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": "http://a:1"}, "http://a:1", None),
        ({"HTTPS_PROXY": "http://a:1"}, None, "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"all_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "http://a:1", "http://b:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, None, "http://a:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, None, "http://b:1"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": " "}, None, None),
        ({"HTTPS_PROXY": "a:1"}, None, "http://a:1"),
        ({"HTTPS_PROXY": " http://a:1/ "}, None, "http://a:1/"),
        ({"HTTPS_PROXY": "http://user:p%40ss@[::1]:1"}, None, "http://user:p%40ss@[::1]:1"),
        ({"HTTPS_PROXY": "socks5h://a:1080"}, None, "socks5h://a:1080"),
    ],
)
def test_proxies_are_named_in_both_cases(environ: dict[str, str], http: str | None, https: str | None) -> None:
    found = Proxies.named_in(environ)
    assert (found.http, found.https) == (http, https)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value",
    ["http://", "://", "ftp://S3cret@a", "http://u:S3cret@a:99999", "u:S3cret@ a", "a:b", "http://a/S3cret", "é é"],
)
def test_a_value_that_names_no_proxy_is_refused_by_name_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(ProxyError, match=f"^{name}: ") as caught:
        Proxies.named_in({name: value})
    assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "https://s3.example"),
        ("a.example, *", "https://[::1]"),
        ("s3.example", "https://s3.example"),
        ("S3.Example", "https://s3.EXAMPLE/x"),
        ("example", "https://s3.example"),
        (".example", "https://s3.example"),
        ("*.example", "https://s3.example"),
        (".s3.example", "https://s3.example"),
        ("s3.example.", "https://s3.example"),
        ("s3.example", "https://s3.example."),
        ("a.example,s3.example", "https://s3.example"),
        ("a.example s3.example", "https://s3.example"),
        (" a.example ,\ts3.example ", "https://s3.example"),
        ("s3.example:443", "https://s3.example"),
        ("s3.example:9000", "http://s3.example:9000"),
        ("example:9000", "http://s3.example:9000"),
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("10.0.0.0/8", "http://10.1.2.3"),
        ("10.1.2.99/24", "http://10.1.2.3"),
        ("::1", "http://[::1]:9000"),
        ("[::1]", "http://[::1]:9000"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("0:0:0:0:0:0:0:1", "http://[::1]"),
        ("[0:0::1]:80", "http://[::1]"),
        ("fd00::/8", "http://[fd12::1]"),
        ("[fd00::]/8", "http://[fd12::1]"),
        ("localhost,127.0.0.1,::1", "http://LOCALHOST:1"),
    ],
)
def test_what_no_proxy_lists_is_called_directly(no_proxy: str, url: str) -> None:
    assert not used(no_proxy, url)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "https://s3.example"),
        (" , ", "https://s3.example"),
        (".", "https://s3.example"),
        ("*.", "https://s3.example"),
        ("3.example", "https://s3.example"),
        ("s3.example", "https://example"),
        ("s3.example", "https://s3.example.org"),
        ("s3.example:80", "https://s3.example"),
        ("s3.example:443x", "https://s3.example"),
        ("0.0.1", "http://127.0.0.1"),
        ("127.0.0.1", "http://x127.0.0.1.example"),
        ("10.0.0.0/8", "http://11.0.0.1"),
        ("10.0.0.0/8", "http://10.example"),
        ("10.0.0.0/33", "http://10.0.0.1"),
        ("::1", "http://[::2]"),
        ("[::1]:80", "http://[::1]:81"),
        ("::/0", "http://10.0.0.1"),
        ("0.0.0.0/0", "http://[::1]"),
        ("[", "http://[::1]"),
        ("http://s3.example", "https://s3.example"),
    ],
)
def test_everything_else_goes_through_the_proxy(no_proxy: str, url: str) -> None:
    assert used(no_proxy, url)


def test_a_scheme_without_a_proxy_is_called_directly() -> None:
    found = Proxies.named_in({"HTTPS_PROXY": PROXY})
    assert found.is_used_for(Url("https://s3.example"))
    assert not found.is_used_for(Url("http://s3.example"))


# --- over real connections


@pytest.mark.anyio
async def test_a_proxy_is_asked_with_its_credentials_and_not_for_what_is_listed() -> None:
    async with Loopback() as proxy, Loopback() as server:
        url = proxy.url.replace("http://", "http://us%20er:p%40ss@")
        proxies = Proxies.named_in({"HTTP_PROXY": url, "NO_PROXY": "127.0.0.1"})
        async with HttpClient(proxies=proxies) as http:
            await http.get(Url(f"{server.url}/direct"), {})
            await http.get(Url("http://s3.example/proxied"), {})
            await http.send("PUT", Url("http://s3.example/put"), {}, b"file", 4)
        assert [request.target for request in server.requests] == ["/direct"]
        assert [request.target for request in proxy.requests] == ["http://s3.example/proxied", "http://s3.example/put"]
        assert {request.headers["proxy-authorization"] for request in proxy.requests} == {"Basic dXMgZXI6cEBzcw=="}


@pytest.mark.anyio
async def test_the_environment_is_not_read_behind_our_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Loopback() as proxy, Loopback() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with HttpClient() as http:
            await http.get(Url(server.url), {})
        assert proxy.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "message", "retry"), [(407, "credentials", Retry.NO), (502, "refused", Retry.YES)])
async def test_a_proxy_that_makes_no_tunnel_is_told(status: int, message: str, retry: Retry) -> None:
    async with Loopback(reply(status)) as proxy:
        proxies = Proxies.named_in({"HTTPS_PROXY": proxy.url.replace("//", "//user:S3cret@")})
        async with HttpClient(proxies=proxies) as http:
            with pytest.raises(HttpError, match=f"proxy.*{message}|{message}.*proxy") as caught:
                await http.get(Url("https://s3.example/"), {})
    assert caught.value.retry is retry
    assert not caught.value.arrived
    assert not re.search(r"S3cret|127\.0\.0\.1", str(caught.value))


@pytest.mark.anyio
async def test_a_proxy_that_wants_credentials_is_not_taken_for_the_server() -> None:
    async with Loopback(reply(407)) as proxy, HttpClient(proxies=Proxies(http=proxy.url)) as http:
        target = Url("http://s3.example/")
        for failing in (
            http.get(target, {}),
            http.call("POST", target, {}, b"x"),
            http.send("PUT", target, {}, b"x", 1),
        ):
            with pytest.raises(HttpError, match="proxy") as caught:
                await failing
            assert caught.value.retry is Retry.NO
    async with Loopback(reply(407)) as server, HttpClient() as http:
        assert (await http.get(Url(server.url), {})).status == 407
