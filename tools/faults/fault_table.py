"""The faults of the network, as data: where, what, how often, and what has to come of it."""

from dataclasses import dataclass
from typing import Literal

from tools.faults.fault_proxy import Kind, Way

Link = Literal["meta", "store", "client"]
Transport = Literal["plain", "tls"]
Destination = Literal["S3 file", "presigned URL"]
Expected = Literal["stored", "refused"]

SMALL = 200_000
LARGE = 100 * 1024 * 1024
"""Bytes: the largest file that is fetched by default, which is the largest that comes in."""
SIZES = {"small": SMALL, "100 MB": LARGE}
DESTINATIONS: tuple[Destination, ...] = ("S3 file", "presigned URL")

LINK_NAMES: dict[Link, str] = {"meta": "gateway to Meta", "store": "gateway to S3", "client": "client to gateway"}

DOWNLOAD = b"GET /whatsapp_business/"
DESCRIBE = b"GET /v"
PUT = b"PUT /"
CALL = b"POST /v1/"

BRIEF_DEADLINE = 4.0
"""Seconds, for calls that cannot succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault on one link.

    `place` says where it strikes: `body` is after a number of bytes of the body that the seed chooses, at least one;
    `gap` is before its first byte; `head` is before the first byte of the answer; `stream` is after a number of bytes
    of the connection that the seed chooses (all that can be aimed at in TLS). With `always` it strikes every time,
    and then `expected` is that the call is refused and the store is as it was before.
    """

    name: str
    link: Link
    kind: Kind | Literal["refuse"]
    way: Way = "down"
    match: bytes | None = None
    place: Literal["body", "gap", "head", "stream"] = "body"
    transport: Transport = "plain"
    always: bool = False
    expected: Expected = "stored"
    errors: frozenset[str] = frozenset({"DependencyException"})
    """The errors that a call may end with when it is refused."""
    seconds: float = 0.0
    """Delay of each packet; of `refuse`, how long."""
    jitter: float = 0.0
    slowness: float = 0.0
    """Of `bandwidth`: seconds that the file takes at least."""
    destinations: tuple[Destination, ...] = DESTINATIONS
    may_cut_answer: bool = False
    """The fault may cut the answer off; botocore gives out what it has of such a 200, without a word."""
    slow: bool = False
    """Takes longer than a shortened run has."""


def _both_ways_of_failing(row: Row) -> tuple[Row, Row]:
    """Once, which the gateway has to get over, and always, which it has to report."""
    values = {name: getattr(row, name) for name in Row.__slots__}
    once = values | {"name": f"{row.name}, {f'for {row.seconds:.0f} s' if row.kind == 'refuse' else 'once'}"}
    always = values | {"name": f"{row.name}, always", "always": True, "expected": "refused", "slow": False}
    return Row(**once), Row(**always)


META = (
    Row(name="latency 150 ms, jitter 100 ms", link="meta", kind="latency", match=DESCRIBE, seconds=0.15, jitter=0.1),
    Row(name="bandwidth cap", link="meta", kind="bandwidth", match=DOWNLOAD, slowness=3.0),
    Row(
        name="bandwidth too small for the deadline",
        link="meta",
        kind="bandwidth",
        match=DOWNLOAD,
        slowness=60.0,
        always=True,
        expected="refused",
    ),
    Row(name="description: reset before the answer", link="meta", kind="reset", match=DESCRIBE, place="head"),
    *_both_ways_of_failing(
        Row(name="reset before the answer", link="meta", kind="reset", match=DOWNLOAD, place="head")
    ),
    *_both_ways_of_failing(Row(name="reset after N bytes", link="meta", kind="reset", match=DOWNLOAD)),
    *_both_ways_of_failing(Row(name="closed after N bytes", link="meta", kind="close", match=DOWNLOAD)),
    *_both_ways_of_failing(
        Row(name="half-open stall after N bytes", link="meta", kind="stall", match=DOWNLOAD, slow=True)
    ),
    *_both_ways_of_failing(Row(name="one bit corrupted", link="meta", kind="corrupt", match=DOWNLOAD)),
    *_both_ways_of_failing(Row(name="connections refused", link="meta", kind="refuse", seconds=1.0)),
    *_both_ways_of_failing(
        Row(name="TLS truncated (FIN without close_notify)", link="meta", kind="close", place="stream", transport="tls")
    ),
    *_both_ways_of_failing(
        Row(name="TLS: one bit corrupted", link="meta", kind="corrupt", place="stream", transport="tls")
    ),
)

STORE = (
    Row(name="latency 150 ms, jitter 100 ms", link="store", kind="latency", match=PUT, seconds=0.15, jitter=0.1),
    Row(name="bandwidth cap", link="store", kind="bandwidth", way="up", match=PUT, slowness=3.0),
    Row(
        name="bandwidth too small for the deadline",
        link="store",
        kind="bandwidth",
        way="up",
        match=PUT,
        slowness=60.0,
        always=True,
        expected="refused",
    ),
    Row(name="answer lost by a reset, file stored", link="store", kind="reset", match=PUT, place="head"),
    *_both_ways_of_failing(Row(name="reset after N bytes", link="store", kind="reset", way="up", match=PUT)),
    *_both_ways_of_failing(Row(name="closed after N bytes", link="store", kind="close", way="up", match=PUT)),
    *_both_ways_of_failing(
        Row(name="closed between head and body", link="store", kind="close", way="up", match=PUT, place="gap")
    ),
    *_both_ways_of_failing(
        Row(name="half-open stall after N bytes", link="store", kind="stall", way="up", match=PUT, slow=True)
    ),
    *_both_ways_of_failing(
        Row(
            name="one bit corrupted",
            link="store",
            kind="corrupt",
            way="up",
            match=PUT,
            destinations=("S3 file",),  # nothing behind the gateway proves a plain PUT to a presigned URL
        )
    ),
    *_both_ways_of_failing(Row(name="connections refused", link="store", kind="refuse", seconds=1.0)),
    *_both_ways_of_failing(
        Row(
            name="TLS truncated (FIN without close_notify)",
            link="store",
            kind="close",
            way="up",
            place="stream",
            transport="tls",
        )
    ),
    *_both_ways_of_failing(
        Row(name="TLS: one bit corrupted", link="store", kind="corrupt", way="up", place="stream", transport="tls")
    ),
)

CLIENT = (
    Row(name="latency 150 ms, jitter 100 ms", link="client", kind="latency", match=CALL, seconds=0.15, jitter=0.1),
    Row(name="request reset after N bytes", link="client", kind="reset", way="up", match=CALL),
    Row(name="request: half-open stall after N bytes", link="client", kind="stall", way="up", match=CALL, slow=True),
    Row(
        name="request: one bit corrupted",
        link="client",
        kind="corrupt",
        way="up",
        match=CALL,
        expected="refused",
        errors=frozenset({"InvalidSignatureException"}),
    ),
    Row(name="answer lost by a reset", link="client", kind="reset", match=CALL, place="head"),
    Row(name="answer: half-open stall", link="client", kind="stall", match=CALL, place="head", slow=True),
    Row(name="answer closed after N bytes", link="client", kind="close", match=CALL, may_cut_answer=True),
    Row(name="connections refused", link="client", kind="refuse", seconds=1.0),
    Row(name="TLS truncated (FIN without close_notify)", link="client", kind="close", place="stream", transport="tls"),
    Row(name="TLS: one bit corrupted", link="client", kind="corrupt", way="up", place="stream", transport="tls"),
)

ROWS: tuple[Row, ...] = (*META, *STORE, *CLIENT)
