"""What the model asks of strings and blobs, and how a broken rule is told."""

import re
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass

from whaul.errors import ValidationException

LONGEST_ECHO = 128
"""Characters of a value that a validation message repeats."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the model asks of a string, or of a blob: its bytes are counted."""

    required: bool = False
    least: int = 0
    most: int | None = None
    pattern: str | None = None
    sensitive: bool = False
    """The value is never repeated in a message."""
    values: tuple[str, ...] = ()
    """The only values, if there are any here."""

    def violation(self, path: str, value: str | bytes | None) -> str | None:
        """Name the first rule that the value breaks, in the wording that AWS's own services use."""
        if value is None:
            return (
                f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
                if self.required
                else None
            )
        if self.most is not None and len(value) > self.most:
            rule = f"Member must have length less than or equal to {self.most}"
        elif len(value) < self.least:
            rule = f"Member must have length greater than or equal to {self.least}"
        elif self.pattern is not None and not (isinstance(value, str) and re.fullmatch(self.pattern, value)):
            rule = f"Member must satisfy regular expression pattern: {self.pattern}"
        elif self.values and value not in self.values:
            rule = f"Member must satisfy enum value set: [{', '.join(self.values)}]"
        else:
            return None
        shows = isinstance(value, str) and not self.sensitive and len(value) <= LONGEST_ECHO
        echo = f" '{value!s}'" if shows else ""
        return f"Value{echo} at '{path}' failed to satisfy constraint: {rule}"


Member = tuple[Constraint, str, str | bytes | None]
"""A constraint, the path of the member, and its value."""

MEDIA_ID = Constraint(required=True, least=1, most=100, pattern="[A-Za-z0-9]+")
PHONE_NUMBER_ID = Constraint(
    required=True, least=1, most=115, pattern=r".*(^phone-number-id-.*$)|(^arn:.*:phone-number-id/[0-9a-zA-Z]+$).*"
)
WABA_ID = Constraint(required=True, least=1, most=115, pattern=r".*(^waba-.*$)|(^arn:.*:waba/[0-9a-zA-Z]+$).*")
ARN = Constraint(required=True, most=2048, pattern="arn:.*")
TAG_KEY = Constraint(required=True, least=1, most=128)
TAG_VALUE = Constraint(most=256)
BUCKET_NAME = Constraint(required=True, least=3, most=63, pattern="[a-z0-9][a-z0-9.-]*[a-z0-9]", sensitive=True)
KEY = Constraint(required=True, most=1024, sensitive=True)
URL = Constraint(required=True, least=1, most=2000, sensitive=True)
MESSAGE = Constraint(required=True, least=1, most=2_048_000, sensitive=True)
API_VERSION = Constraint(required=True)


def check(members: Sequence[Member], *others: str | None) -> None:
    """Raise `ValidationException` with every constraint that a member breaks; `others` are violations found besides."""
    violations = [*_violations(members), *(other for other in others if other is not None)]
    if violations:
        noun = "validation error" if len(violations) == 1 else "validation errors"
        raise ValidationException(f"{len(violations)} {noun} detected: {'; '.join(violations)}")


def outside(path: str, value: int | None, least: int, most: int) -> str | None:
    """Tell that an optional number is out of its range."""
    if value is None or least <= value <= most:
        return None
    rule = f"greater than or equal to {least}" if value < least else f"less than or equal to {most}"
    return f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value {rule}"


def too_many(path: str, items: Sized | None, most: int) -> str | None:
    """Tell that an optional list has too many members."""
    if items is None or len(items) <= most:
        return None
    return f"Value at '{path}' failed to satisfy constraint: Member must have length less than or equal to {most}"


def _violations(members: Sequence[Member]) -> Iterator[str]:
    for constraint, path, value in members:
        violation = constraint.violation(path, value)
        if violation is not None:
            yield violation
