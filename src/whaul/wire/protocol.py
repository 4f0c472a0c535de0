"""rest-json itself: what a call brings, JSON in and out, error bodies and headers.

https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
"""

import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from whaul.errors import SerializationException

Headers = list[tuple[str, str]]
T = TypeVar("T")

_encoder = msgspec.json.Encoder()


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


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Read a JSON body; an empty one is an empty structure. Raises `SerializationException`."""
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        # The library names types and the place, never a value; a map's key shows as [...].
        raise SerializationException(f"The request body does not fit the operation: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SerializationException("The request body is not JSON.") from None
