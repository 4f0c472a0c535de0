"""The shapes of the operations on tags, and of tags elsewhere."""

from collections.abc import Iterable, Iterator

import msgspec

from whaul.errors import InvalidParametersException
from whaul.wire.constraints import ARN, TAG_KEY, TAG_VALUE, Constraint, Member, check
from whaul.wire.protocol import decoded, encoded, query_members

RESERVED = "aws:"
"""No tag's key may begin so, in any case. https://docs.aws.amazon.com/tag-editor/latest/userguide/reference.html"""


class Tag(msgspec.Struct):
    """A tag as it comes."""

    key: str | None = None
    value: str | None = None


class _TagResource(msgspec.Struct, rename="camel"):
    resource_arn: str | None = None
    tags: list[Tag] | None = None


class _UntagResource(msgspec.Struct, rename="camel"):
    resource_arn: str | None = None
    tag_keys: list[str] | None = None


class _Done(msgspec.Struct, rename="camel"):
    status_code: int = 200


class _Listed(_Done, rename="camel"):
    tags: list[Tag] = []


_tag_decoder = msgspec.json.Decoder(_TagResource)
_untag_decoder = msgspec.json.Decoder(_UntagResource)


def tag_resource(body: bytes) -> tuple[str, dict[str, str]]:
    """Read the input of TagResource: the ARN, and the tags.

    Raises `SerializationException`, `ValidationException`, and `InvalidParametersException` for tags that are not
    possible.
    """
    given = decoded(_tag_decoder, body)
    present = None if given.tags is None else ""
    members: list[Member] = [(ARN, "resourceArn", given.resource_arn), (Constraint(required=True), "tags", present)]
    check([*members, *tag_members("tags", given.tags)])
    return given.resource_arn or "", tags_of(given.tags)


def untag_resource(body: bytes) -> tuple[str, tuple[str, ...]]:
    """Read the input of UntagResource: the ARN, and the keys. Raises as `tag_resource` does."""
    given = decoded(_untag_decoder, body)
    present = None if given.tag_keys is None else ""
    check([(ARN, "resourceArn", given.resource_arn), (Constraint(required=True), "tagKeys", present)])
    _check_storable(*(given.tag_keys or ()))
    return given.resource_arn or "", tuple(given.tag_keys or ())


def list_tags(query: bytes) -> str:
    """Read the input of ListTagsForResource: the ARN. Raises as `tag_resource` does."""
    arn = query_members(query).get("resourceArn")
    check([(ARN, "resourceArn", arn)])
    return arn or ""


def done() -> bytes:
    """Write the output of TagResource and UntagResource."""
    return encoded(_Done())


def listed(tags: Iterable[tuple[str, str]]) -> bytes:
    """Write the output of ListTagsForResource."""
    return encoded(_Listed(tags=[Tag(key, value) for key, value in tags]))


def tag_members(path: str, tags: Iterable[Tag] | None) -> Iterator[Member]:
    """The members of a list of tags at `path`, for `check`."""
    for number, tag in enumerate(tags or (), start=1):
        yield TAG_KEY, f"{path}.{number}.member.key", tag.key
        yield TAG_VALUE, f"{path}.{number}.member.value", tag.value


def tags_of(tags: Iterable[Tag] | None) -> dict[str, str]:
    """Take over tags that keep their constraints; one without a value has an empty one.

    Raises `InvalidParametersException` for a key that is reserved or comes twice, and for NUL characters.
    """
    found: dict[str, str] = {}
    for tag in tags or ():
        key = tag.key or ""
        if key.lower().startswith(RESERVED):
            raise InvalidParametersException(f"A tag's key may not begin with {RESERVED}; AWS keeps those for itself.")
        _check_storable(key, tag.value)
        if key in found:
            raise InvalidParametersException("A tag's key is given twice; keep one of them.")
        found[key] = tag.value or ""
    return found


def _check_storable(*texts: str | None) -> None:
    if any("\0" in (text or "") for text in texts):  # PostgreSQL's text has no such character
        raise InvalidParametersException("Tags may not hold the character NUL.")
