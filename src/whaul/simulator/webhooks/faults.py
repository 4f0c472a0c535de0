"""What can be wrong with one POST of a webhook, so that a receiver's refusals can be tested."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from whaul.simulator.values import BadValueError, schema

MEBIBYTE = 1024 * 1024


class WireFault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind has."""

    attempts: Annotated[int, Meta(ge=1)] | None = None
    """How many attempts it hits; those that follow are as usual. Absent: there is one attempt only."""

    @property
    def kind(self) -> str:
        """The name of the kind."""
        return str(type(self).__struct_config__.tag)


class WrongSignature(WireFault, tag="wrong_signature"):
    """Signed with another secret."""


class NoSignature(WireFault, tag="no_signature"):
    """No signature at all."""


class Sha1Only(WireFault, tag="sha1_only"):
    """Only the old header `X-Hub-Signature`."""


class BadSignature(WireFault, tag="malformed_signature"):
    """A signature header that is none."""


class Slow(WireFault, tag="slow"):
    """The body comes a few bytes at a time."""

    bytes_per_second: Annotated[int, Meta(ge=1)] = 100


class BreakOff(WireFault, tag="break_off"):
    """The connection ends after `at` bytes of the body; absent: half of it."""

    at: Annotated[int, Meta(ge=0)] | None = None


class NotJson(WireFault, tag="not_json"):
    """Rightly signed, but half a JSON object."""


class UnknownObject(WireFault, tag="unknown_object"):
    """Rightly signed, but of another product of Meta's."""

    object: str = "page"


class TooLarge(WireFault, tag="too_large"):
    """Rightly signed, and filled up with spaces to `size` bytes."""

    size: Annotated[int, Meta(ge=1, le=64 * MEBIBYTE)] = 4 * MEBIBYTE + 1


AnyWireFault = (
    WrongSignature | NoSignature | Sha1Only | BadSignature | Slow | BreakOff | NotJson | UnknownObject | TooLarge
)
KINDS: Mapping[str, type[WireFault]] = {
    str(kind.__struct_config__.tag): kind for kind in sorted(get_args(AnyWireFault), key=lambda kind: kind.__name__)
}


def parse(raw: str | dict[str, Any] | None) -> AnyWireFault | None:
    """Build a fault from its kind, or from its members; raises `BadValueError`."""
    if raw is None:
        return None
    members = {"kind": raw} if isinstance(raw, str) else raw
    kind = KINDS.get(members.get("kind", "")) if isinstance(members.get("kind"), str) else None
    if kind is None:
        raise BadValueError(f"There is no kind of webhook fault {members.get('kind')!r}.", [*KINDS])
    try:
        fault: AnyWireFault = msgspec.convert(members, AnyWireFault)
    except msgspec.ValidationError as exc:
        raise BadValueError(f"{exc}.", schema(kind)) from exc
    return fault
