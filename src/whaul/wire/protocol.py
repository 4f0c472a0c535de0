"""rest-json itself: what a call brings, JSON in and out, error bodies and headers.

https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
"""

import math
import random
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from whaul.errors import ApiError, SerializationException, ThrottledRequestException

LARGEST_REQUEST = 256 * 1024
"""Bytes of a request body, unless `LARGER_REQUESTS` says otherwise."""
LARGER_REQUESTS = {"SendWhatsAppMessage": 3 * 1024 * 1024}
"""Bytes of the bodies of operations that need more: 2,048,000 of a message, in base64, with escaped slashes."""

Headers = list[tuple[str, str]]
Answer = tuple[bytes, Headers]
"""The body and the headers of a response."""
T = TypeVar("T")

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Input:
    """What a call brings besides its path and its signature, as received."""

    query: bytes = field(repr=False)
    body: bytes = field(repr=False)
    headers: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)
    """Names are in lower case."""


def invocation_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The id that an SDK gives to all attempts of one call; None without one.

    https://docs.rs/aws-runtime/latest/aws_runtime/invocation_id/index.html
    """
    found = next((value for name, value in headers if name == b"amz-sdk-invocation-id"), b"")
    return found or None


def encoded(document: object) -> bytes:
    """Write JSON."""
    return _encoder.encode(document)


def query_members(query: bytes) -> dict[str, str]:
    """Read the members in a query string by name. Raises `SerializationException`, also for a member given twice."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise SerializationException("The query string cannot be read.") from None
    members = dict(pairs)
    if len(members) != len(pairs):
        raise SerializationException("A member is in the query string twice.")
    return members


def whole_number(members: Mapping[str, str], name: str) -> int | None:
    """Read a whole number from a query string's members. Raises `SerializationException`."""
    text = members.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise SerializationException(f"The member {name} in the query string is not a whole number.")
    return int(text)


def error_answer(error: ApiError) -> tuple[bytes, Headers]:
    """Write an error: its body, and its own headers."""
    headers = [("x-amzn-ErrorType", error.code)]
    if isinstance(error, ThrottledRequestException) and error.retry_after is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(error.retry_after)))))
    return encoded({"__type": error.code, "message": error.message}), headers


def request_id() -> str:
    """Make the id that an answer carries as `x-amzn-RequestId` and every log line repeats."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Read a JSON body; an empty one is an empty structure. Raises `SerializationException`."""
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        # The library names types and the place, never a value; a map's key shows as [...].
        raise SerializationException(f"The request body does not fit the operation: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SerializationException("The request body is not JSON.") from None
