"""What NATS and Kafka have in common: addresses with several hosts, credentials apart from them, the order of a send.

The libraries of brokers look names up by themselves, so every name is judged before it is given to one.
"""

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from whaul.events.envelope import Envelopes
from whaul.events.model import Event, Failed, Outcome
from whaul.events.targets import MAX_KEPT, TargetError, attributes
from whaul.outbound.netguard import EventHosts, ForbiddenUrlError, HostPort, parse_url
from whaul.outbound.public_names import PublicNames

TIMEOUT: Final = 15.0
"""Seconds for look-up, connection and acknowledgement together."""
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")


class BrokerAddress(NamedTuple):
    """Where a broker is, and what events are published to there."""

    places: Sequence[HostPort]
    name: str
    """A subject or a topic."""


@dataclass(frozen=True, slots=True)
class Brokers:
    """What targets of brokers share."""

    hosts: EventHosts
    names: PublicNames
    envelopes: Envelopes
    certificates: Sequence[bytes] = ()
    """DER; trusted in addition to the system's."""
    timeout: float = TIMEOUT

    def check(self, places: Sequence[HostPort], *, is_encrypted: bool, wanted: str) -> None:
        """Refuse an address that may not be called. Raises `TargetError`."""
        try:
            for place in places:
                self.hosts.check_place(place, is_encrypted=is_encrypted, wanted=wanted)
        except ForbiddenUrlError as forbidden:
            raise TargetError(f"The address of the destination cannot be used: {forbidden}.") from None

    def headers(self, event: Event) -> dict[str, str]:
        """Name an event beside its envelope."""
        return attributes(event, described=True)

    def tls(self) -> ssl.SSLContext:
        """Make what TLS is made with. It reads files."""
        context = ssl.create_default_context()
        if self.certificates:
            context.load_verify_locations(cadata=b"".join(self.certificates))
        return context


def read_address(text: str, default_port: int) -> BrokerAddress:
    """Read `scheme://host:port[,host:port]/name`. Raises `TargetError`, which shows nothing before an @."""
    scheme, _, rest = text.partition("://")
    hosts, _, name = rest.partition("/")
    if "@" in hosts:
        raise TargetError("Credentials do not belong into the address of a destination; give --credentials-file.")
    return BrokerAddress([_place(scheme, host, default_port) for host in hosts.split(",")], name)


def check_names(given: Mapping[str, str], known: Sequence[str]) -> None:
    """Refuse credentials that are not known here. Raises `TargetError`, which shows names, and no value."""
    for name in given:
        if name not in known:
            raise TargetError(f"{name[:64]!r} is none of the credentials that can be given: {', '.join(known)}.")


def failed(outcome: Outcome, events: Sequence[Event]) -> list[Outcome]:
    """Say the same of all events."""
    return [outcome] * len(events)


def down(detail: str) -> Failed:
    """Say that nothing is to be had there now."""
    return Failed("down", detail[:MAX_KEPT])


def no_answer() -> Failed:
    """Say that time is over."""
    return down("No answer in time.")


def _place(scheme: str, text: str, default_port: int) -> HostPort:
    found = _HOST.fullmatch(text)
    port = int(found[2] or default_port) if found else 0
    if found is None or not 0 < port < 65536:
        raise TargetError(f"{text[:256]!r} is no host; expected {scheme}://host:{default_port}/…")
    try:
        host = HostPort.of(parse_url(f"https://{found[1]}/")).host
    except ForbiddenUrlError as forbidden:
        raise TargetError(f"The address of the destination cannot be used: {forbidden}.") from None
    return HostPort(host, port, port == default_port)
