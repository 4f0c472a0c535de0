"""The operations on tags of linked accounts and phone numbers."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.errors import InvalidParametersException
from whaul.operations.call import ResourceCall, Row, no_resource, on_resource
from whaul.registry.errors import TooManyTagsError
from whaul.registry.tags import MAX_TAGS, TagValues

RESERVED = "aws:"
"""No tag's key may begin so, in any case. https://docs.aws.amazon.com/tag-editor/latest/userguide/reference.html"""

DONE: Final = {"statusCode": 200}


async def tag(call: ResourceCall) -> Document:
    """TagResource."""
    try:
        is_linked = await call.components.registry.tags.set(call.resource_id, tags_of(call.members["tags"]))
    except TooManyTagsError:
        raise too_many() from None
    if not is_linked:
        raise no_resource()
    return DONE


async def untag(call: ResourceCall) -> Document:
    """UntagResource."""
    if not await call.components.registry.tags.remove(call.resource_id, call.members["tagKeys"]):
        raise no_resource()
    return DONE


async def list_tags(call: ResourceCall) -> Document:
    """ListTagsForResource."""
    tags = await call.components.registry.tags.all(call.resource_id)
    if tags is None:
        raise no_resource()
    return DONE | {"tags": [{"key": key, "value": value} for key, value in tags.items()]}


def tags_of(tags: Iterable[Mapping[str, Any]] | None) -> TagValues:
    """Take over tags; one without a value has an empty one.

    Raises `InvalidParametersException` for a key that is reserved or comes twice, and for NUL characters.
    """
    found: TagValues = {}
    for each in tags or ():
        key, value = each["key"], each.get("value") or ""
        if key.lower().startswith(RESERVED):
            raise InvalidParametersException(f"A tag's key may not begin with {RESERVED}; AWS keeps those for itself.")
        _check_storable(key, value)
        if key in found:
            raise InvalidParametersException("A tag's key is given twice; keep one of them.")
        found[key] = value
    return found


def too_many() -> InvalidParametersException:
    """Build the error for tags beyond the most that a resource can have."""
    return InvalidParametersException(f"A resource can have {MAX_TAGS} tags; remove some first (UntagResource).")


def _check_storable(*texts: str) -> None:
    if any("\0" in text for text in texts):  # PostgreSQL's text has no such character
        raise InvalidParametersException("Tags may not hold the character NUL.")


def _check_tags(members: Members) -> None:
    tags_of(members["tags"])


def _check_keys(members: Members) -> None:
    _check_storable(*members["tagKeys"])


OPERATIONS: Final[Mapping[str, Row]] = {
    "TagResource": on_resource(tag, _check_tags),
    "UntagResource": on_resource(untag, _check_keys),
    "ListTagsForResource": on_resource(list_tags),
}
