"""Meta's objects in AWS's words, by the service's model.

A member that AWS calls `jsonVersion` is Meta's `json_version`, unless a family says otherwise. So the model says what
is asked of Meta, what its answer must be, and what becomes of it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from whaul.api.request import Members
from whaul.api.response import Document
from whaul.api.service import SHAPES

_SCALARS: Final[Mapping[str, Any]] = {"string": str, "boolean": bool, "integer": int, "long": int}


def meta_type(
    shape: str,
    *,
    names: Mapping[str, str] | None = None,
    types: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Any:
    """Build the type of Meta's object that a shape of the model shows.

    `names` are Meta's names of the shape's own members, where they are not AWS's in snake case. By shape, `types` are
    Meta's types where they are not AWS's, and `defaults` what required members are when Meta leaves them out, or has
    null there.
    """
    fact, names, types, defaults = SHAPES[shape], names or {}, types or {}, defaults or {}
    if shape in types:
        return types[shape]
    if fact.type == "list":
        return list[meta_type(fact.member, types=types, defaults=defaults)]  # type: ignore[misc]
    if fact.type == "map":
        return dict[str, str]
    if fact.type != "structure":
        return _SCALARS[fact.type]
    fields: list[Any] = []
    for name, member in fact.members.items():
        kind = meta_type(member.shape, types=types, defaults=defaults)
        if name in fact.required and member.shape not in defaults:
            fields.append((name, kind))
        else:
            fields.append((name, kind | None, defaults.get(member.shape)))
    others = {name: names.get(name) or _snake_case(name) for name in fact.members}
    absent = {name: defaults[member.shape] for name, member in fact.members.items() if member.shape in defaults}

    def fill(found: Any) -> None:
        for name, value in absent.items():
            if getattr(found, name) is None:
                setattr(found, name, value)

    return msgspec.defstruct(shape, fields, kw_only=True, rename=others, namespace={"__post_init__": fill})


def renamed(members: Members, wanted: Iterable[str], names: Mapping[str, str]) -> Document:
    """Write those of the members that are given as Meta does; `names` are as in `meta_type`."""
    given = {name: members[name] for name in wanted if members.get(name) is not None}
    return {names.get(name) or _snake_case(name): value for name, value in given.items()}


def in_snake_case(value: Any) -> Any:
    """Write all members of a value in Meta's spelling, however deep; maps that callers wrote, too."""
    if isinstance(value, dict):
        return {_snake_case(name): in_snake_case(item) for name, item in value.items() if item is not None}
    return [in_snake_case(item) for item in value] if isinstance(value, list) else value


def fields(kind: type[msgspec.Struct]) -> str:
    """What asks Meta for all members of an object."""
    return ",".join(kind.__struct_encode_fields__)


def document(found: Any) -> Document:
    """Write Meta's object as AWS does; what Meta leaves out is left out."""
    members = msgspec.structs.asdict(found).items()
    return {name: _value(value) for name, value in members if value is not None}


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, msgspec.Raw):  # of `types`: AWS has a string there
        return msgspec.json.format(bytes(value), indent=-1).decode(errors="replace")
    return document(value) if isinstance(value, msgspec.Struct) else value


def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)
