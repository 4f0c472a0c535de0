"""Which hosts may be called, and which may get a token or a file.

The parser is the HTTP client's own (`pyreqwest.http.Url`), so that the host that is checked is the host that is called.
A URL of a caller or of Meta is refused if the parser would have to repair it. A URL of the operator may be repaired
(`http://127.1`, an IPv6 address in its long form). Capitals, an explicit default port, and a dot after the host name
make no difference.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

from pyreqwest.http import Url

from whaul.partitions import is_s3_host

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST_PATTERN = re.compile(
    rf"(?P<wildcard>\*\.)?(?P<host>\[[0-9a-f:.]+\]|{_LABEL}(?:\.{_LABEL})*)\.?(?::(?P<port>\d{{1,5}}))?"
)
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_DOT_SEGMENT = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?=/|$)", re.IGNORECASE)

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
EVENT_HOSTS = "WHAUL_EVENT_HOSTS"
PRIVATE = f"its address is not a public one; the operator can list its host in {EVENT_HOSTS}"


class ForbiddenUrlError(Exception):
    """The URL may not be called; the message says why, without any part of the URL."""


class HostPort(NamedTuple):
    """Where a connection goes."""

    host: str
    """As the HTTP client's parser writes it, without the dot that may end a full name."""
    port: int
    is_default: bool
    """Whether it is the port of the protocol, so that it need not be named."""

    @classmethod
    def of(cls, url: Url) -> Self:
        """Where a URL leads."""
        return cls(_host(url), url.port_or_known_default or 0, url.port is None)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """`host` or `*.domain`, with or without `:port`.

    Without, it stands for the scheme's default port, or for any port of a loopback host.
    """

    host: str
    wildcard: bool
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern of a setting. Raises `ValueError` that says what is expected."""
        is_bare_ipv6 = ":" in text and "[" not in text and is_address(text)
        match = _HOST_PATTERN.fullmatch(f"[{text}]".lower() if is_bare_ipv6 else text.lower())
        port = int(match["port"]) if match and match["port"] else None
        try:
            host = Url(f"http://{match['host']}").host_str if match else None
        except ValueError:
            host = None
        if not match or not host or (port is not None and not 0 < port < 65536):
            shown = "a URL" if re.search("[/@?]", text) else repr(text)  # a URL may hold secrets
            raise ValueError(
                f"{shown} is not a host; expected for example media.example, *.media.example or localhost:9000"
            )
        return cls(host, bool(match["wildcard"]), port)

    def matches(self, url: Url) -> bool:
        """Whether the URL's host and port match."""
        return self.matches_place(HostPort.of(url))

    def matches_place(self, place: HostPort) -> bool:
        """Whether host and port match."""
        host = place.host
        if not (host.endswith("." + self.host) if self.wildcard else host == self.host):
            return False
        if self.port is not None:
            return place.port == self.port
        return place.is_default or (not self.wildcard and is_loopback(host))


class MediaHosts:
    """The hosts that may get a Meta token, for a download."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(HostPattern.parse(pattern) for pattern in patterns)

    def check(self, text: str) -> Url:
        """Return the parsed URL if the token may go there. Raises `ForbiddenUrlError`."""
        url = parse_url(text)
        if not any(pattern.matches(url) for pattern in self._patterns):
            raise ForbiddenUrlError("its host is not listed in WHAUL_MEDIA_HOSTS")
        if url.scheme != "https" and not is_loopback(_host(url)):
            raise ForbiddenUrlError("it is not https")
        return url


class PresignedHosts:
    """The hosts that a presigned URL of a caller may name."""

    def __init__(self, endpoint: str, patterns: Iterable[str]) -> None:
        """`endpoint` is the URL of the configured S3 endpoint; only this one may be plain http."""
        self._endpoint = Url(endpoint)
        is_s3_host("s3.amazonaws.com")  # loads its rules now, not in a call
        self._patterns = tuple(HostPattern.parse(pattern) for pattern in patterns)

    def check(self, text: str) -> Url:
        """Return the parsed URL if it may be called. Raises `ForbiddenUrlError`."""
        url = parse_url(text)
        if self._is_endpoint(url):
            return url
        if url.scheme != "https":
            raise ForbiddenUrlError("it is not https")
        aws = url.port is None and is_s3_host(url.host_str or "")
        if not aws and not any(pattern.matches(url) for pattern in self._patterns):
            raise ForbiddenUrlError(
                "its host is not an allowed S3 host; the operator can allow it in WHAUL_PRESIGNED_HOSTS"
            )
        return url

    def _is_endpoint(self, url: Url) -> bool:
        """Whether it is the configured endpoint, or a bucket's name in front of it."""
        host, endpoint = _host(url), _host(self._endpoint)
        return (url.scheme, url.port_or_known_default) == (
            self._endpoint.scheme,
            self._endpoint.port_or_known_default,
        ) and (host == endpoint or (host.endswith("." + endpoint) and not is_address(endpoint)))


class EventHosts:
    """The hosts that events may be sent to: every public one over https, and those that the operator lists."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = tuple(HostPattern.parse(pattern) for pattern in patterns)

    def check(self, text: str) -> Url:
        """Return the parsed URL if it may be called, as far as it can be told without asking. See `is_listed`.

        Raises `ForbiddenUrlError`.
        """
        url = parse_url(text)
        self.check_place(HostPort.of(url), is_encrypted=url.scheme == "https")
        return url

    def check_place(self, place: HostPort, *, is_encrypted: bool, wanted: str = "https") -> None:
        """Check where events are to go; `wanted` says what to use instead of plain text.

        Raises `ForbiddenUrlError`.
        """
        if self.is_listed(place):
            return
        if not is_encrypted:
            raise ForbiddenUrlError(f"it is not {wanted}, and its host is not listed in {EVENT_HOSTS}")
        host = place.host.strip("[]")
        if is_loopback(host) or (is_address(host) and not is_public(host)):
            raise ForbiddenUrlError(PRIVATE)

    def is_listed(self, place: HostPort) -> bool:
        """Whether the operator lists the host, whatever its address is; else its addresses must be public."""
        return any(pattern.matches_place(place) for pattern in self._patterns)


def parse_url(text: str) -> Url:
    """Parse an absolute http(s) URL. Raises `ForbiddenUrlError` if it would have to be repaired."""
    url = endpoint_url(text)
    if not text.isascii():
        raise ForbiddenUrlError("it holds characters that are not ASCII; percent-encode them")
    authority, _, path = text.partition("?")[0].partition("://")[2].partition("/")
    if authority.lower() not in {url.host_str, f"{url.host_str}:{url.port_or_known_default}"}:
        raise ForbiddenUrlError("its host is not written as it is called")
    if _DOT_SEGMENT.search("/" + path):
        raise ForbiddenUrlError("its path holds a dot segment")
    return url


def endpoint_url(text: str) -> Url:
    """Parse an absolute http(s) URL of the operator. Raises `ForbiddenUrlError`."""
    if _UNSAFE.search(text):
        raise ForbiddenUrlError("it holds white space, a control character or a backslash")
    try:
        url = Url(text)
    except ValueError:
        raise ForbiddenUrlError("it is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.host_str:
        raise ForbiddenUrlError("it is not an http or https URL")
    if "@" in re.split(r"[/?#]", text.partition(":")[2].lstrip("/"))[0]:  # the parser drops an empty user
        raise ForbiddenUrlError("it holds user information")
    if url.fragment is not None:
        raise ForbiddenUrlError("it holds a fragment")
    return url


def has_dot_segment(key: str) -> bool:
    """Whether an object key has a `.` or `..` segment, which clients and stores resolve."""
    return any(segment in {".", ".."} for segment in key.split("/"))


def is_loopback(host: str) -> bool:
    """Whether a host name or address is a loopback one."""
    if host.lower() in {"localhost", "localhost."}:
        return True
    bare = host.strip("[]")
    return is_address(bare) and ipaddress.ip_address(bare).is_loopback


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet; one that stands for another is judged by that."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped or ip.sixtofour or ip.teredo or ip in _NAT64:
            inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
            return is_public(str(inner or ipaddress.IPv4Address(ip.packed[-4:])))
        return ip.is_global and not ip.is_multicast and not ip.is_site_local
    return ip.is_global and not ip.is_multicast


@lru_cache(1024)  # of few hosts, for each event
def is_address(host: str) -> bool:
    """Whether it is an IP address, with or without brackets."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _host(url: Url) -> str:
    """The host, without the dot that may end a full name."""
    return (url.host_str or "").removesuffix(".")
