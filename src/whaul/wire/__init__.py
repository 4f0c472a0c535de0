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
    Headers,
    encoded,
    query_members,
)

__all__ = [
    "Constraint",
    "Headers",
    "delete_media",
    "delete_media_answer",
    "encoded",
    "get_media",
    "get_media_answer",
    "post_media",
    "post_media_answer",
    "query_members",
    "send_message",
    "send_message_answer",
    "stored_headers",
]
