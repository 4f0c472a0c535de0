"""Who a client is, as far as its request says: its address behind proxies, and the access key that it claims."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

MAX_CLAIM = 32
"""Characters of a claimed access key id. What is longer may be a secret key in its place, and is not repeated."""

_CREDENTIAL = re.compile(rb"Credential=([^,&\s]+)")
"""In the Authorization header or the query."""
_KEY_ID = re.compile(rb"(.+)/[0-9]{8}(?:/|$)", re.DOTALL)
_HOP = re.compile(r"^(?:\[([^]]*)\]|([^:]*))(?::\d{1,5})?$")
"""An address with a port, as some proxies write it, or IPv6 in brackets."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ClientAddress:
    """Reads `X-Forwarded-For` as far as it comes from trusted proxies."""

    def __init__(self, trusted: Iterable[str]) -> None:
        """`trusted` are addresses or networks of proxies."""
        self._trusted = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)

    def of(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the nearest address that is not a trusted proxy's; `peer` is the other end of the connection."""
        if not self._trusted or peer is None:
            return peer
        forwarded = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        address = peer
        for hop in reversed(",".join(forwarded).split(",")):
            before = _address(_HOP.sub(r"\1\2", hop.strip()))
            if not self.is_trusted(address) or before is None:
                break
            address = str(before)
        return address

    def is_trusted(self, text: str) -> bool:
        """Whether an address is a trusted proxy's."""
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    """Read an address. An IPv4 address that a dual-stack socket shows as IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if address.version == 6 else address


def claimed_access_key_id(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> str | None:
    """Return the access key id that a request claims, which nobody has proven; None without one.

    It is text that a stranger wrote, of at most `MAX_CLAIM` characters; of a longer one only the length is told.
    """
    signed = next((value for name, value in headers if name == b"authorization"), query)
    credential = _CREDENTIAL.search(signed)
    claim = _KEY_ID.match(unquote_to_bytes(credential[1])) if credential else None
    if claim is None:
        return None
    text = claim[1].decode("utf-8", "backslashreplace")
    return text if len(text) <= MAX_CLAIM else f"({len(text)} characters)"
