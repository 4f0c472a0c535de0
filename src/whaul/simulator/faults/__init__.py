"""Faults: which kinds there are, and what each takes. `queue` says whose turn it is, `effects` carries them out.

A fault belongs to one object id, or to all (`*`), and to one hop of the way to a file:

    metadata   GET of an object or an edge
    download   GET of a download URL
    upload     POST of a media file
    delete     DELETE of a media id
    register   POST of a number's registration; POST or DELETE of an account's or an app's subscription
    send       POST of a message
    settings   POST of a phone number's settings or webhook configuration, or of anything about flows

Every fault takes `media_id`, `hop`, `times` (how many calls it hits; unlimited if absent) and `delay` (seconds to
wait first). The faults of one id and hop queue: each call meets the first one that has calls left. Faults of the
id itself come before those of `*`.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec
from msgspec import Meta

from whaul.simulator.values import BadValueError, schema

Hop = Literal["metadata", "download", "upload", "delete", "register", "send", "settings"]
HOPS: tuple[Hop, ...] = get_args(Hop)
DOWNLOAD_FIRST: tuple[Hop, ...] = ("download", *(hop for hop in HOPS if hop != "download"))
EVERY_ID = "*"

Code = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Offset = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")]
HeaderValue = Annotated[str, Meta(pattern=r"^[\t -~]*\Z")]
Headers = dict[HeaderName, HeaderValue]

# The server writes these itself; `truncate` and `longer` make them wrong.
FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind of fault has."""

    hops: ClassVar[tuple[Hop, ...]] = HOPS
    """Where it can happen; the first is the default."""

    media_id: Annotated[str, Meta(min_length=1, max_length=100)] = EVERY_ID
    hop: Hop | None = None
    times: Count | None = None
    delay: Seconds = 0.0

    @property
    def kind(self) -> str:
        """The name of the kind, as in control requests."""
        return str(type(self).__struct_config__.tag)


class Error(Fault, tag="error"):
    """A Graph error; `status` defaults to what Meta's table gives to the code."""

    code: Code
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    subcode: int | None = None
    is_transient: bool | None = None
    type: str = "OAuthException"
    message: str | None = None
    title: str | None = None
    user_message: str | None = None
    details: str | None = None
    headers: Headers = {}
    retry_after: Offset | None = None
    regain_minutes: Offset | None = None


class RateLimit(Fault, tag="rate_limit"):
    """A throttle: every call, or those beyond `calls` within `per` seconds of the simulator's clock."""

    code: Code = 4
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    calls: Offset = 0
    per: Annotated[float, Meta(gt=0)] = 60.0
    retry_after: Offset | None = None
    regain_minutes: Offset = 1


class Status(Fault, tag="status"):
    """A bare HTTP status, without Graph's JSON."""

    status: Annotated[int, Meta(ge=300, le=599)]
    body: str = ""
    headers: Headers = {}
    retry_after: Offset | None = None


class Latency(Fault, tag="latency"):
    """The usual answer, `seconds` late."""

    seconds: Seconds


class ExpiredUrl(Fault, tag="expired_url"):
    """The 404 of a download URL that is past its five minutes."""

    hops: ClassVar[tuple[Hop, ...]] = ("download",)


class Truncate(Fault, tag="truncate"):
    """The connection ends in good order after `at` bytes (half of them if absent) of the announced length."""

    hops: ClassVar[tuple[Hop, ...]] = DOWNLOAD_FIRST
    at: Offset | None = None


class Longer(Fault, tag="longer"):
    """`extra` bytes after the file's own; `framing` says how the end of the body is marked."""

    hops: ClassVar[tuple[Hop, ...]] = ("download",)
    extra: Count = 1024
    framing: Literal["chunked", "close", "length"] = "chunked"


class Corrupt(Fault, tag="corrupt"):
    """One wrong byte, at `at` (the middle if absent); the length stays right."""

    hops: ClassVar[tuple[Hop, ...]] = ("download",)
    at: Offset | None = None


class Html(Fault, tag="html"):
    """A page for people where a file or JSON should be."""

    hops: ClassVar[tuple[Hop, ...]] = DOWNLOAD_FIRST
    status: Annotated[int, Meta(ge=200, le=599)] = 200


class Redirect(Fault, tag="redirect"):
    """A redirect to `location`."""

    hops: ClassVar[tuple[Hop, ...]] = DOWNLOAD_FIRST
    location: HeaderValue
    status: Literal[301, 302, 303, 307, 308] = 302


class WrongHash(Fault, tag="wrong_hash"):
    """Metadata with the SHA-256 of other bytes."""

    hops: ClassVar[tuple[Hop, ...]] = ("metadata",)


class WrongSize(Fault, tag="wrong_size"):
    """Metadata whose `file_size` is off by `by` bytes."""

    hops: ClassVar[tuple[Hop, ...]] = ("metadata",)
    by: int = 1


class NotJson(Fault, tag="not_json"):
    """A 200 that says it is JSON and is not."""

    body: str = '{"messaging_product": "whatsapp", "url'


class WrongJson(Fault, tag="wrong_json"):
    """JSON with members replaced (`set`) or missing (`drop`), or another document altogether (`body`).

    With none of the three, `url` is missing and `file_size` is a list.
    """

    hops: ClassVar[tuple[Hop, ...]] = ("metadata", "send", "settings", "delete")
    set: dict[str, Any] = {}
    drop: list[str] = []
    body: Any = msgspec.UNSET


class Reset(Fault, tag="reset"):
    """A TCP reset: before the answer, or after `at` bytes of its body."""

    hops: ClassVar[tuple[Hop, ...]] = DOWNLOAD_FIRST
    at: Offset | None = None


class Drip(Fault, tag="drip"):
    """A slow body."""

    hops: ClassVar[tuple[Hop, ...]] = DOWNLOAD_FIRST
    bytes_per_second: Count


class Stall(Fault, tag="stall"):
    """Silence until the client leaves: before the answer, or after its headers and `at` bytes of its body."""

    hops: ClassVar[tuple[Hop, ...]] = DOWNLOAD_FIRST
    at: Offset | None = None


KINDS: dict[str, type[Fault]] = {str(kind.__struct_config__.tag): kind for kind in Fault.__subclasses__()}


class BadFaultError(BadValueError):
    """A fault that does not exist or does not take these parameters; `allowed` says what does."""


def parse(raw: object) -> Fault:
    """Check a fault as it comes in JSON or from Python; raises `BadFaultError`."""
    kind = KINDS.get(str(raw.get("kind"))) if isinstance(raw, dict) else None
    if kind is None:
        raise BadFaultError("A fault is an object with a known `kind`.", sorted(KINDS))
    name = kind.__struct_config__.tag
    try:
        fault: Fault = msgspec.convert(raw, type=kind)
    except msgspec.ValidationError as exc:
        raise BadFaultError(f"{name}: {exc}", parameters(kind)) from exc
    if fault.hop is None:
        fault = msgspec.structs.replace(fault, hop=kind.hops[0])
    if fault.hop not in kind.hops:
        raise BadFaultError(f"{name}: does not happen at the hop `{fault.hop}`.", kind.hops)
    if FRAMING_HEADERS & {header.lower() for header in getattr(fault, "headers", {})}:
        raise BadFaultError(
            f"{name}: the server itself writes {', '.join(sorted(FRAMING_HEADERS))}.",
            "any other header; `truncate` and `longer` give a body of the wrong length",
        )
    if isinstance(fault, WrongSize) and not fault.by:
        raise BadFaultError(f"{name}: `by` must not be 0.", parameters(kind))
    return fault


def parameters(kind: type[Fault]) -> dict[str, object]:
    """The parameters that a kind takes, each as a JSON schema."""
    return {**schema(kind), "hop": {"enum": list(kind.hops), "default": kind.hops[0]}}
