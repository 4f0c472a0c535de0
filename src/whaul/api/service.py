"""The service as AWS models it: operations, and the shapes of what they take and return.

`service.json` holds the facts of botocore's model; `./run model` writes it. It is committed, because the botocore
that a user has installed may be older than the operations.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Final, Literal

import msgspec


class Member(msgspec.Struct, frozen=True, rename={"location_name": "locationName"}):
    """A member of a structure."""

    shape: str
    location: Literal["body", "querystring"] = "body"
    location_name: str | None = None
    """Its name there; None when it is the member's own."""


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A type, with its constraints. The parts of a type are names of other shapes."""

    type: Literal["structure", "list", "map", "string", "blob", "boolean", "integer", "long", "timestamp"]
    members: dict[str, Member] = {}
    required: tuple[str, ...] = ()
    member: str = ""
    """Of a list."""
    key: str = ""
    value: str = ""
    min: int | None = None
    max: int | None = None
    """Bounds: characters of a string, bytes of a blob, entries of a list or map, or the number itself."""
    pattern: str | None = None
    """What the whole of a string matches."""
    enum: tuple[str, ...] = ()
    sensitive: bool = False
    """Neither the value nor what is in it may be repeated anywhere."""


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation, built or not."""

    method: str
    path: str
    input: str
    output: str
    """Names of shapes."""
    errors: frozenset[str]
    """Codes of the errors that SDKs have a type for."""


class _Service(msgspec.Struct, frozen=True):
    operations: dict[str, Operation]
    errors: dict[str, int]
    shapes: dict[str, Shape]


_SERVICE: Final = msgspec.json.decode(files("whaul.api").joinpath("service.json").read_bytes(), type=_Service)

OPERATIONS: Final[Mapping[str, Operation]] = _SERVICE.operations
"""Every operation of the service, built or not, by name."""
SHAPES: Final[Mapping[str, Shape]] = _SERVICE.shapes
ERRORS: Final[Mapping[str, int]] = _SERVICE.errors
"""The HTTP status of every error that the model has."""
ROUTES: Final[Mapping[tuple[str, str], str]] = {(found.method, found.path): name for name, found in OPERATIONS.items()}
"""Names of operations by method and path."""
PATHS: Final = frozenset(path for _, path in ROUTES)


def members() -> Iterator[tuple[str, Shape]]:
    """List every member of every structure that operations take or return: its name on the wire, and its shape."""
    for shape in SHAPES.values():
        for name, member in shape.members.items():
            yield member.location_name or name, SHAPES[member.shape]
