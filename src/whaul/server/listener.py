"""Which address `WHAUL_HOST` is: an address, with or without brackets, or a name, which is resolved at the start.

And whether a server could listen there.
"""

import errno
import ipaddress
import socket

from whaul.server.port_holder import port_holder


class ListenerError(Exception):
    """The server cannot listen there; the message says why and what to do."""


def listen_address(host: str, setting: str = "WHAUL_HOST") -> str:
    """Return the IP address to listen on; of a name's addresses the first, IPv4 before IPv6.

    Raises `ListenerError` for a name that does not resolve, and for an address that belongs to one network interface
    (`fe80::1%eth0`), which the server cannot bind.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if "%" in bare:
        raise ListenerError(
            f"{setting}={host}: an address of one network interface cannot be listened on; "
            "name another address of this machine, or :: for all of them"
        )
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return _resolved(bare, setting)


def check_free(host: str, port: int, option: str = "--port") -> None:
    """Raise `ListenerError` unless a server could listen there; `option` chooses another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            holder = port_holder(port) if error.errno == errno.EADDRINUSE else None
            by = f" by {holder}: stop that, or" if holder else ";"
            option = option if error.errno in {errno.EADDRINUSE, errno.EACCES} else "--host"
            raise ListenerError(
                f"cannot listen on {host} port {port}: {error.strerror}{by} choose another {option}"
            ) from None


def _resolved(name: str, setting: str) -> str:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):  # UnicodeError: the name cannot be one in DNS
        raise ListenerError(
            f"{setting}={name:.80}: the name has no address here; expected an address of this machine without a "
            "port, such as 127.0.0.1, 0.0.0.0 or ::, or a name of it"
        ) from None
    addresses = sorted((family != socket.AF_INET, str(address[0])) for family, *_, address in found)
    return addresses[0][1]
