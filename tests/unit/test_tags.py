"""Tags that cannot be, whoever asks for them."""

from typing import Any

import pytest

from whaul.errors import InvalidParametersException
from whaul.operations.tags import OPERATIONS, tags_of

ARN = "arn:aws:social-messaging:eu-west-1:111122223333:waba/0123456789abcdef0123456789abcdef"


def refusal(operation: str, **members: Any) -> str:
    with pytest.raises(InvalidParametersException) as caught:
        OPERATIONS[operation].check({"resourceArn": ARN} | members)
    return caught.value.message


def test_tags_are_values_by_key_and_one_without_a_value_has_an_empty_one() -> None:
    given = [{"key": "a", "value": "\u00e4"}, {"key": "b"}, {"key": "c", "value": None}]
    assert tags_of(given) == {"a": "\u00e4", "b": "", "c": ""}
    assert tags_of(None) == {}


@pytest.mark.parametrize("key", ["aws:", "aws:cloudformation", "AWS:x", "aWs:x"])
def test_a_reserved_key_is_refused(key: str) -> None:
    assert "aws:" in refusal("TagResource", tags=[{"key": key, "value": ""}])


def test_a_key_given_twice_is_refused() -> None:
    assert "twice" in refusal("TagResource", tags=[{"key": "a"}, {"key": "a", "value": "1"}])


@pytest.mark.parametrize("tag", [{"key": "a\0"}, {"key": "a", "value": "\0"}])
def test_a_character_that_cannot_be_stored_is_refused(tag: dict[str, str]) -> None:
    assert refusal("TagResource", tags=[tag]) == "Tags may not hold the character NUL."
    assert refusal("UntagResource", tagKeys=["b", "a\0"]) == "Tags may not hold the character NUL."
