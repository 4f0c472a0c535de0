"""Presigned URLs, their headers, and download URLs: whatever is accepted goes to an allowed host, as it is written."""

import asyncio
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyreqwest.http import Url

from harness.examples import TRICKS, examples
from harness.peer import Peer
from whaul.errors import InvalidParametersException
from whaul.model import MediaInfo, PresignedUrl
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import ForbiddenUrlError, MediaHosts, PresignedHosts
from whaul.storage.presigned import REFUSED_HEADERS, Presigned

ENDPOINT = "http://127.0.0.1:8333"
PRESIGNED = PresignedHosts(ENDPOINT, ["*.store.example", "store.example:9443"])
MEDIA = MediaHosts(["lookaside.fbsbx.com", "*.fbcdn.net", "*.whatsapp.net", "127.0.0.1:8444"])

HOSTS = [
    "s3.amazonaws.com", "b.s3.us-east-1.amazonaws.com", "s3-fips.dualstack.us-gov-west-1.amazonaws.com",
    "s3.cn-north-1.amazonaws.com.cn", "a.store.example", "store.example", "store.example:9443", "127.0.0.1:8333",
    "lookaside.fbsbx.com", "x.fbcdn.net", "fbcdn.net", "mmg.whatsapp.net", "127.0.0.1:8444",
    "evil.example", "evil.example:443", "s3.amazonaws.com.evil.example", "s3-amazonaws.com", "evils3.amazonaws.com",
    "fbcdn.net.evil.example", "evilfbcdn.net", "lookaside.fbsbx.com.", "s3.amazonaws.com.", "x..fbcdn.net",
    "127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1.",
    "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]",
    "[0:0:0:0:0:0:0:1]", "[fe80::1%25eth0]", "[::]", "0", "0.0.0.0", "169.254.169.254", "[fd00:ec2::254]",  # noqa: S104 - not bound
    "metadata.google.internal", "localhost", "localhost:8444", "localtest.me", "[::1]:8333", "[::ffff:127.0.0.1]:8444",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021", "xn--fbcdn-net.example", "fbcdn\u3002net",
    "x.fbcdn\uff0enet", "%31%32%37.0.0.1", "x%2efbcdn%2enet", "evil.example%2f.fbcdn.net", "evil.example\\.fbcdn.net",
    "evil.example%00.fbcdn.net", "s3.us-east-1.amazonaws.com.evil", "a_b.fbcdn.net", "-.s3.amazonaws.com", "",
]  # fmt: skip
USERS = ["", "user@", "user:pw@", ":@", "@", "s3.amazonaws.com@", "x.fbcdn.net:443@", "a%40b@", "\\@"]
SCHEMES = [
    "https://",
    "http://",
    "HTTPS://",
    "https:/",
    "https:",
    "https:///",
    "//",
    "ftp://",
    "file://",
    "https:\\\\",
    "",
]
PORTS = ["", "", "", ":443", ":80", ":8333", ":8444", ":9443", ":0", ":65536", ":", ":4 4 3", ":0443", ":-1"]
TAILS = [
    "",
    "/",
    "/k",
    "?a=b",
    "#f",
    "/k?X-Amz-Signature=0",
    "/@x.fbcdn.net",
    "/../k",
    "/%2e%2e/k",
    "/k;a=b",
    "/\u00e9",
]
TEXTS = [trick.decode("latin-1") for trick in TRICKS]
URLS = st.builds(
    "".join,
    st.tuples(*(st.sampled_from(choices) for choices in (SCHEMES, USERS, HOSTS, PORTS, TAILS))),
) | st.lists(st.sampled_from([*SCHEMES, *USERS, *HOSTS, *PORTS, *TAILS, *TEXTS]) | st.text(max_size=4), max_size=7).map(
    "".join
)
AWS = re.compile(r"(.+\.)?s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?")
"""Wider than the code under test: what is not even this is not AWS's."""


def called(text: str, url: Url) -> tuple[str, str, int]:
    """Scheme, host and port that an accepted URL calls; two parsers must agree on them."""
    assert not re.search(r"[\x00-\x20\x7f\\]", text)
    other = urlsplit(text)
    host = other.hostname or ""
    port = other.port or {"https": 443, "http": 80}[other.scheme]
    assert (url.scheme, (url.host_str or "").strip("[]"), url.port_or_known_default) == (other.scheme, host, port)
    assert "@" not in other.netloc
    assert not other.fragment
    assert host.isascii()
    assert "%" not in host
    return other.scheme, host.removesuffix("."), port  # the dot of the root names the same host


def is_address(host: str) -> bool:
    """Whether a host is an address in any spelling that some resolver takes for one."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", host))
    return True


@examples(800)
@given(URLS)
def test_an_accepted_presigned_url_calls_an_allowed_host(text: str) -> None:
    try:
        url = PRESIGNED.check(text)
    except ForbiddenUrlError:
        return
    scheme, host, port = called(text, url)
    if (scheme, host, port) == ("http", "127.0.0.1", 8333):
        return
    assert scheme == "https"
    assert not is_address(host)
    assert (
        (AWS.fullmatch(host) and port == 443)
        or (host.endswith(".store.example") and port == 443)
        or (host, port) == ("store.example", 9443)
    )


@examples(800)
@given(URLS)
def test_an_accepted_download_url_calls_a_host_that_may_see_the_token(text: str) -> None:
    try:
        url = MEDIA.check(text)
    except ForbiddenUrlError:
        return
    scheme, host, port = called(text, url)
    if (host, port) == ("127.0.0.1", 8444):
        return
    assert (scheme, port) == ("https", 443)
    assert not is_address(host)
    assert host == "lookaside.fbsbx.com" or host.endswith((".fbcdn.net", ".whatsapp.net"))


@pytest.mark.parametrize("guard", [PRESIGNED, MEDIA], ids=["presigned", "media"])
@pytest.mark.parametrize("host", [host for host in HOSTS if is_address(host.partition(":")[0]) or host.startswith("[")])
def test_no_spelling_of_an_address_is_let_through(guard: PresignedHosts | MediaHosts, host: str) -> None:
    """An address is called only where the operator wrote that very address, with that very port."""
    for scheme in ("https", "http"):
        text = f"{scheme}://{host}/k"
        try:
            url = guard.check(text)
        except ForbiddenUrlError:
            continue
        assert (url.host_str, url.port) in {("127.0.0.1", 8333), ("127.0.0.1", 8444)}


@pytest.mark.parametrize(
    "text", ["https://" + "a." * 1000 + "s3.aa", "https://" + "s3." * 600, "https://s3.aa" + "-a" * 990]
)
def test_a_long_host_is_decided_at_once(text: str) -> None:
    with pytest.raises(ForbiddenUrlError):
        PRESIGNED.check(f"{text}/k")


# --- headers ---------------------------------------------------------------------------------------------------

CHARACTERS = st.characters(exclude_categories=("Cs",))
HEADER_NAMES = (
    st.sampled_from(
        [*sorted(REFUSED_HEADERS), "Host", "X-Amz-Meta-A", "content-type", "accept", "x", "X", "user-agent"]
    )
    | st.text("abcXYZ-_ :\r\n\x00()\u00e9\u0131", max_size=8)
    | st.text(CHARACTERS, max_size=6)
)
HEADER_VALUES = (
    st.sampled_from(
        ["1", "a\r\nx-evil: 1", "a\nHost: evil", "\r\n\r\nGET / HTTP/1.1", "a\x00b", " a ", "\t", "\u00e9\u00ff"]
    )
    | st.text("ab \t\r\n\x00\x1f\x7f\x85\u2028", max_size=8)
    | st.text(CHARACTERS, max_size=12)
)
INFO = MediaInfo("image/jpeg", 3, b"\x00" * 32, "https://unused.example/")


def put(loop: asyncio.Runner, http: HttpClient, peer: Peer, headers: Mapping[str, str]) -> str:
    async def sent() -> str:
        destination = Presigned(http, PresignedHosts(peer.url, []), PresignedUrl(f"{peer.url}/b/k", headers))
        return await destination.put(b"abc", INFO)

    return loop.run(sent())


@examples(200)
@given(st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=4))
@example({"x-a": "1", "X-A": "2"})
def test_headers_arrive_as_given_or_not_at_all(
    loop: asyncio.Runner, http: HttpClient, running_peer: Peer, headers: dict[str, str]
) -> None:
    running_peer.reset()
    try:
        put(loop, http, running_peer, headers)
    except InvalidParametersException:
        assert running_peer.connections == 0
        return
    [request] = running_peer.received
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == b"abc"
    first, *lines = head.split(b"\r\n")
    assert first == b"PUT /b/k HTTP/1.1"
    arrived = sorted(line.split(b":", 1)[0].lower() for line in lines)
    own = {b"host", b"content-length", b"content-type", b"accept", b"user-agent"}
    assert len(set(arrived)) == len(arrived)
    assert set(arrived) <= own | {name.lower().encode() for name in headers}
    values = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    assert values[b"host"] == running_peer.host.encode()
    assert values[b"content-length"] == b"3"
    for name, value in headers.items():
        assert values[name.lower().encode()] == value.strip(" \t").encode()


NAMES = [f"{i:x}" for i in range(26_000)]


@pytest.mark.parametrize(
    "headers",
    [
        dict.fromkeys(NAMES, ""),
        {"x" * 66_000: "1"},
        {"x": "1" * 250_000},
        {f"x-amz-meta-{i}": "1" * 100 for i in range(100)},
    ],
    ids=["very many", "a very long name", "a very long value", "more than S3 takes"],
)
def test_headers_that_nothing_can_hold_are_refused(
    headers: dict[str, str], loop: asyncio.Runner, http: HttpClient, peer: Peer
) -> None:
    with pytest.raises(InvalidParametersException, match="8192"):
        put(loop, http, peer, headers)
    assert peer.connections == 0
