"""The wire: bytes to model and back.

The shapes are those of botocore's `socialmessaging` model (2024-01-01), which a test compares them with. `protocol`
and `constraints` hold what all operations share; each family of operations has a module of its own.
"""

from whaul.wire.constraints import Constraint
from whaul.wire.media import (
    delete_media,
    delete_media_answer,
    get_media,
    get_media_answer,
    post_media,
    post_media_answer,
    stored_headers,
)
from whaul.wire.messages import send_message, send_message_answer
from whaul.wire.protocol import (
    LARGER_REQUESTS,
    LARGEST_REQUEST,
    Answer,
    Headers,
    Input,
    encoded,
    error_answer,
    invocation_id,
    query_members,
    request_id,
)

__all__ = [
    "LARGER_REQUESTS",
    "LARGEST_REQUEST",
    "Answer",
    "Constraint",
    "Headers",
    "Input",
    "delete_media",
    "delete_media_answer",
    "encoded",
    "error_answer",
    "get_media",
    "get_media_answer",
    "invocation_id",
    "post_media",
    "post_media_answer",
    "query_members",
    "request_id",
    "send_message",
    "send_message_answer",
    "stored_headers",
]
