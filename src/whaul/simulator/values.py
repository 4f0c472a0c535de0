"""Values that a user gives the simulator: checked by their shape, and refused with what would be right."""

from typing import TypeVar

import msgspec

Shape = TypeVar("Shape", bound=msgspec.Struct)


class BadValueError(ValueError):
    """A value that does not exist or does not fit; `allowed` says what does."""

    def __init__(self, message: str, allowed: object = None) -> None:
        super().__init__(message)
        self.allowed = allowed


class MissingError(KeyError):
    """There is nothing with this id."""

    def __str__(self) -> str:
        return str(self.args[0])


def checked(raw: object, shape: type[Shape]) -> Shape:
    """Build a shape from a user's value; raises `BadValueError` with the JSON schema of its members."""
    try:
        return msgspec.convert(raw, type=shape)
    except msgspec.ValidationError as exc:
        raise BadValueError(f"{exc}.", schema(shape)) from exc


def schema(shape: type[msgspec.Struct]) -> dict[str, object]:
    """The members of a shape, each as a JSON schema."""
    _, components = msgspec.json.schema_components([shape])
    properties: dict[str, object] = components[shape.__name__]["properties"]
    return properties
