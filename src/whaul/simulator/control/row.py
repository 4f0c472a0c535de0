"""One request of the control endpoint: a function of the Python API, and how its parameters are members of JSON."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from whaul.simulator.values import checked

Members = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One request. Its members are the parameters of its function, and are checked by that function's annotations."""

    method: str
    path: str
    does: str
    """For people: what it does, without its members' names unless they need a word."""
    call: Callable[..., Any]
    show: Callable[[Any, Members], Any] = lambda result, _: result
    """What the response shows: of what the function returned, and what it was given."""
    status: int = 200
    shows: Any = None
    """The type of that; None: what the function returns."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Parameters that have another name as a member: parameter → member."""
    options: type[msgspec.Struct] | None = None
    """What the parameters may be that the function takes as `**`."""
    takes_body: str | None = None
    """The parameter that is the whole body."""
    takes_file: bool = False
    """Whether the body is a file, which the function takes as `path` and `mime_type`."""

    @cached_property
    def shape(self) -> type[msgspec.Struct]:
        """The members that fit the function."""
        named = [p for p in inspect.signature(self.call).parameters.values() if p.kind is not p.VAR_KEYWORD]
        return msgspec.defstruct(
            "Members",
            [(p.name, p.annotation) if p.default is p.empty else (p.name, p.annotation, p.default) for p in named],
            bases=(self.options,) if self.options else (),
            kw_only=True,
            forbid_unknown_fields=True,
            rename=dict(self.names),
        )

    @property
    def members(self) -> list[str]:
        """The names of the members, without what the body itself is."""
        names = self.shape.__struct_encode_fields__
        return [name for name in names if not (self.takes_file and name in {"path", "mime_type"})]

    @property
    def shown(self) -> Any:
        """The type of what the response shows."""
        return self.shows or inspect.signature(self.call).return_annotation

    async def run(self, members: Members) -> Any:
        """Call the function with a request's members; raises `BadValueError` or `MissingError`."""
        found = checked(members, self.shape)
        names = zip(self.shape.__struct_fields__, self.shape.__struct_encode_fields__, strict=True)
        given = {name: getattr(found, name) for name, member in names if member in members}
        shown = self.show(self.call(**given), given)
        return await shown if inspect.isawaitable(shown) else shown
