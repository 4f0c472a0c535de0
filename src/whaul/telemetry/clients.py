"""The address of a client behind proxies."""

import ipaddress
import re
from collections.abc import Iterable

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
            if not self._is_trusted(address) or before is None:
                break
            address = str(before)
        return address

    def _is_trusted(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    """Read an address. An IPv4 address that a dual-stack socket shows as IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if address.version == 6 else address
