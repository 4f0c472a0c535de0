"""Responses of the service: bodies, their headers, dates, and errors.

https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
"""

import math
import random
import uuid
from datetime import datetime
from typing import Any

import msgspec

from whaul.errors import ApiError, ThrottledRequestException

Document = dict[str, Any]
"""The members of an output by their names in the model; None stands for none."""
Headers = list[tuple[str, str]]
Response = tuple[bytes, Headers]
"""The body and the headers."""

_encode = msgspec.json.Encoder().encode


def body(document: Document) -> bytes:
    """Write an output."""
    return _encode(document)


def timestamp(date: datetime) -> float:
    """Write a date as seconds since 1970, to the millisecond.

    https://smithy.io/2.0/spec/protocol-traits.html#timestampformat-trait
    """
    return round(date.timestamp(), 3)


def error(failure: ApiError) -> Response:
    """Write an error: its body, and its own headers."""
    headers = [("x-amzn-ErrorType", failure.code)]
    if isinstance(failure, ThrottledRequestException) and failure.retry_after is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(failure.retry_after)))))
    return _encode({"__type": failure.code, "message": failure.message}), headers


def request_id() -> str:
    """Make the id that a response carries as `x-amzn-RequestId` and every log line repeats."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))
