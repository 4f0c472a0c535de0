"""Requests of the service: query string and body to members that keep the model's constraints.

A request is decoded once, by a decoder that knows the constraints. Only when that fails, it is decoded without them
and looked at member by member, to name every constraint that is broken, in the wording of AWS's own services.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NotRequired, Required, TypedDict
from urllib.parse import parse_qsl

import msgspec

from whaul.api.service import OPERATIONS, SHAPES, Shape
from whaul.errors import SerializationException, ValidationException

MAX_REQUEST = 256 * 1024
"""Bytes of a request body, unless `MAX_REQUESTS` says otherwise."""
MAX_REQUESTS = {
    "SendWhatsAppMessage": 3 * 1024 * 1024,  # 2,048,000 bytes of a message
    "SendWhatsAppCallEvent": 3 * 1024 * 1024,
    "SendWhatsAppConversionEvent": 3 * 1024 * 1024 // 2,  # 1,024,000 of its data
    "CreateWhatsAppFlow": 15 * 1024 * 1024,  # 10 MiB of flow JSON
    "UpdateWhatsAppFlowAssets": 15 * 1024 * 1024,
}
"""Bytes of the bodies of operations that need more: for what they hold in base64, with escaped slashes."""
MAX_ECHO = 128
"""Characters of a value that a validation message repeats."""
MAX_VIOLATIONS = 200
"""Broken constraints that one message names."""

CHECKED_ELSEWHERE: Final = frozenset({"S3PresignedUrlUrlString"})
"""Shapes whose pattern is not asked for: AWS's matches `https://evil.example/s3.amazonaws.com/x`. See `netguard`."""

Members = dict[str, Any]
"""The members of an input by their names in the model, as JSON has them; a blob's are its bytes. Those that are not
required may be left out, or None."""

_ATTEMPT: Final = re.compile(rb"\battempt=([0-9]{1,4})\b")
_SCALARS: Final[Mapping[str, Any]] = {"string": str, "blob": bytes, "boolean": bool, "integer": int, "long": int}


@dataclass(frozen=True, slots=True)
class Request:
    """What a call has in addition to its path and its signature, as received."""

    query: bytes = field(repr=False)
    body: bytes = field(repr=False)
    headers: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)
    """Names are in lower case."""

    @property
    def invocation(self) -> "Invocation":
        """What an SDK says of its call."""
        return Invocation(self.headers)


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call of an SDK, which may send it several times.

    https://docs.rs/aws-runtime/latest/aws_runtime/invocation_id/index.html
    """

    headers: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)
    """Of one of its requests."""

    @property
    def id(self) -> bytes | None:
        """What all its requests have; None without one."""
        return self._header(b"amz-sdk-invocation-id") or None

    @property
    def is_repetition(self) -> bool:
        """Whether the SDK has sent it before, by its own word: `amz-sdk-request: attempt=2; max=3`."""
        attempt = _ATTEMPT.search(self._header(b"amz-sdk-request"))
        return attempt is not None and int(attempt[1]) > 1

    def _header(self, wanted: bytes) -> bytes:
        return next((value for name, value in self.headers if name == wanted), b"")


class Reader:
    """Reads the requests of one operation."""

    def __init__(self, operation: str, advice: Mapping[str, Callable[[str | None], str]] | None = None) -> None:
        """`operation` is its name; `advice` says, by member, what to do about a wrong value, or nothing."""
        self._advice = advice or {}
        self._input = OPERATIONS[operation].input
        members = SHAPES[self._input].members
        self._query = {
            name: (member.location_name or name, SHAPES[member.shape].type)
            for name, member in members.items()
            if member.location == "querystring"
        }
        self._has_body = len(self._query) < len(members)
        self._checking = msgspec.json.Decoder(_structure(self._input, checked=True))
        self._decoder = msgspec.json.Decoder(_structure(self._input, checked=False))

    def read(self, request: Request) -> Members:
        """Read and check the members.

        Raises `SerializationException` for what is not JSON of the model's types, or no query string, and
        `ValidationException` with the constraints that are broken.
        """
        if not self._query:
            try:
                members: Members = self._checking.decode(request.body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                return members
        members = _query_members(request.query, self._query) if self._query else {}
        if self._has_body:
            members |= _decoded(self._decoder, request.body)
        try:
            check(self._input, members)
        except ValidationException as error:
            advice = [advise(members.get(name)) for name, advise in self._advice.items()]
            raise ValidationException(". ".join([error.message, *filter(None, advice)])) from None
        return members


def check(shape: str, members: Members) -> None:
    """Raise `ValidationException` with the constraints that the members of a structure break."""
    violations: list[str] = []
    for violation in _structure_violations(SHAPES[shape], "", members, sensitive=False):
        if len(violations) == MAX_VIOLATIONS:
            raise ValidationException(f"More than {MAX_VIOLATIONS} validation errors detected: {'; '.join(violations)}")
        violations.append(violation)
    if violations:
        noun = "validation error" if len(violations) == 1 else "validation errors"
        raise ValidationException(f"{len(violations)} {noun} detected: {'; '.join(violations)}")


# --- types for the decoder


def _structure(name: str, *, checked: bool) -> Any:
    """Build the type of a structure's members in a body; `checked` with their constraints."""
    shape = SHAPES[name]
    fields = {}
    for member, fact in shape.members.items():
        if fact.location == "body":
            kind = _type(fact.shape, checked=checked)
            is_required = checked and member in shape.required
            fields[member] = Required[kind] if is_required else NotRequired[kind | None]
    return TypedDict(name, fields)  # type: ignore[operator]


def _type(name: str, *, checked: bool) -> Any:
    shape = SHAPES[name]
    if shape.type == "structure":
        return _structure(name, checked=checked)
    if shape.type == "list":
        kind: Any = list[_type(shape.member, checked=checked)]  # type: ignore[misc]
    elif shape.type == "map":
        kind = dict[_type(shape.key, checked=checked), _type(shape.value, checked=checked)]  # type: ignore[misc]
    else:
        kind = _SCALARS[shape.type]
    return Annotated[kind, _meta(name, shape)] if checked and shape.type != "boolean" else kind


def _meta(name: str, shape: Shape) -> msgspec.Meta:
    if shape.type in {"integer", "long"}:
        return msgspec.Meta(ge=shape.min, le=shape.max)
    pattern = "|".join(re.escape(value) for value in shape.enum) if shape.enum else _pattern(name, shape)
    whole = None if pattern is None else rf"\A(?:{pattern})\Z"
    return msgspec.Meta(min_length=shape.min, max_length=shape.max, pattern=whole)


def _pattern(name: str, shape: Shape) -> str | None:
    return None if name in CHECKED_ELSEWHERE else shape.pattern


def _decoded(decoder: msgspec.json.Decoder[Members], body: bytes) -> Members:
    """Read a JSON body; an empty one is an empty structure. Raises `SerializationException`."""
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        # The library names types and the place, never a value; a map's key shows as [...].
        raise SerializationException(f"The request body does not fit the operation: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SerializationException("The request body is not JSON.") from None


# --- the query string


def _query_members(query: bytes, wanted: Mapping[str, tuple[str, str]]) -> Members:
    """Read members from a query string. Raises `SerializationException`, also for a member that is there twice."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise SerializationException("The query string cannot be read.") from None
    texts = dict(pairs)
    if len(texts) != len(pairs):
        raise SerializationException("A member is in the query string twice.")
    return {member: _query_value(name, texts[name], kind) for member, (name, kind) in wanted.items() if name in texts}


def _query_value(name: str, text: str, kind: str) -> str | int | bool:
    if kind in {"integer", "long"}:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise SerializationException(f"The member {name} in the query string is not a whole number.")
        return int(text)
    if kind == "boolean":
        if text not in {"true", "false"}:
            raise SerializationException(f"The member {name} in the query string is neither true nor false.")
        return text == "true"
    return text


# --- constraints that are broken


def _structure_violations(shape: Shape, path: str, members: Members, *, sensitive: bool) -> Iterator[str]:
    """Name what is wrong with the members themselves, then with what is inside them."""
    inside = []
    for name, member in shape.members.items():
        value, at = members.get(name), f"{path}{name}"
        if value is not None:
            yield from _violations(member.shape, at, value, sensitive=sensitive)
            inside.append((name, member.shape, value))
        elif name in shape.required:
            yield f"Value null at '{at}' failed to satisfy constraint: Member must not be null"
    for name, kind, value in sorted(inside, key=lambda item: item[0]):
        yield from _inner_violations(SHAPES[kind], f"{path}{name}", value, sensitive=sensitive)


def _inner_violations(shape: Shape, path: str, value: Any, *, sensitive: bool) -> Iterator[str]:
    hidden = sensitive or shape.sensitive
    if shape.type == "structure":
        yield from _structure_violations(shape, f"{path}.", value, sensitive=hidden)
    elif shape.type == "list":
        # What is beyond the most is not looked at: a message must not grow with the request.
        for place, item in enumerate(value[: shape.max], start=1):
            at = f"{path}.{place}.member"
            yield from _violations(shape.member, at, item, sensitive=hidden)
            yield from _inner_violations(SHAPES[shape.member], at, item, sensitive=hidden)
    elif shape.type == "map":
        rules: Iterable[tuple[str, str, Iterable[Any]]] = (
            ("Map keys", shape.key, value),
            ("Map value", shape.value, value.values()),
        )
        for what, kind, items in rules:
            broken = next((rule for item in items if (rule := _broken_rule(kind, item))), None)
            if broken:
                yield f"Value at '{path}' failed to satisfy constraint: {what} must satisfy constraint: [{broken}]"


def _violations(name: str, path: str, value: Any, *, sensitive: bool) -> Iterator[str]:
    rule = _broken_rule(name, value)
    if rule is not None:
        shows = isinstance(value, str | int) and not (sensitive or SHAPES[name].sensitive)
        echo = f" '{value}'" if shows and len(str(value)) <= MAX_ECHO else ""
        yield f"Value{echo} at '{path}' failed to satisfy constraint: {rule}"


def _broken_rule(name: str, value: Any) -> str | None:
    """Name the first rule of a shape that a value breaks."""
    shape = SHAPES[name]
    if shape.type in {"boolean", "structure"}:
        return None
    size, measure = (value, "value") if isinstance(value, int) else (len(value), "length")
    if shape.max is not None and size > shape.max:
        return f"Member must have {measure} less than or equal to {shape.max}"
    if shape.min is not None and size < shape.min:
        return f"Member must have {measure} greater than or equal to {shape.min}"
    pattern = _pattern(name, shape)
    if pattern is not None and not re.fullmatch(pattern, value):
        return f"Member must satisfy regular expression pattern: {pattern}"
    if shape.enum and value not in shape.enum:
        return f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
    return None
