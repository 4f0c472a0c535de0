"""Which address a request came from, when proxies stand in between."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ClientAddress:
    """Reads `X-Forwarded-For` as far as trusted proxies wrote it."""

    def __init__(self, trusted: Iterable[str]) -> None:
        """`trusted` are addresses or networks of proxies."""
        self._trusted = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)

    def of(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the nearest address that is not a trusted proxy's; `peer` is the other end of the connection."""
        if not self._trusted or peer is None:
            return peer
        forwarded = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        address = peer
        for hop in reversed([hop.strip() for hop in ",".join(forwarded).split(",")]):
            if not self._is_trusted(address) or _address(hop) is None:
                break
            address = hop
        return address

    def _is_trusted(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
