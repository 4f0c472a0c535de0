"""What a policy says that has no effect: names that no call asks for, mostly misspelt.

`policy` refuses what cannot be evaluated. What is told here can be, and may be meant: a policy may be written for
several servers, or for a later version.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from whaul.auth.policy import glob

_FIELDS: Final = ("", "partition", "service", "region", "account number")
_HEX: Final = frozenset("0123456789abcdef")
_NEAR: Final = 0.7
"""How alike two names must be for the one to be suggested for the other; 1 is the same."""
_PLACE: Final = re.compile(r"[A-Z]\w*(?:\[\d+\])?(?:\.[\w'\[\]]+)*")
"""Where something is in a document, as messages begin."""
_DECODER: Final = json.JSONDecoder()
Actions = Mapping[str, tuple[str, ...]]
"""Every action that calls ask for, and the forms of its resources: `#` is a hexadecimal digit, `*` any characters."""


def warnings(document: str, actions: Actions) -> list[str]:
    """List what has no effect in a policy document that can be evaluated, each with its place."""
    statements = json.loads(document)["Statement"]
    if isinstance(statements, dict):
        return list(_statement("Statement", statements, actions))
    found = (_statement(f"Statement[{i}]", statement, actions) for i, statement in enumerate(statements))
    return [warning for warnings in found for warning in warnings]


def unknown_action(action: str, actions: Iterable[str]) -> str | None:
    """Say so, with a suggestion, if an action or a pattern of actions matches none."""
    if _matching(action, actions):
        return None
    by_lower_case = {name.lower(): name for name in actions}
    near = get_close_matches(action.lower(), by_lower_case, n=1, cutoff=_NEAR)
    return f"no call needs the action {action}" + (f"; did you mean {by_lower_case[near[0]]}?" if near else "")


def line_of(document: str, told: str) -> int | None:
    """Find the line of a document, JSON, that a message is about, which begins with a place such as `Statement[0].Sid`.

    If there is no such place, it is the line of what should have it. None if no line can be told.
    """
    place = told.partition(":")[0]
    if not _PLACE.fullmatch(place):
        return None
    steps = re.findall(r"\[\d+\]|\w+", place)
    try:
        at = _skip(document, 0)
        for step in steps:
            found = _element(document, at, int(step[1:-1])) if step[0] == "[" else _member(document, at, step)
            if found is None:
                break
            at = found
    except (ValueError, IndexError, RecursionError):
        return None
    return document.count("\n", 0, at) + 1


def _element(document: str, at: int, wanted: int) -> int | None:
    """Find where an element of a list begins."""
    for _ in range(wanted):
        _, end = _DECODER.raw_decode(document, _skip(document, at + 1))
        at = _skip(document, end)
        if document[at] == "]":
            return None
    return _skip(document, at + 1)


def _member(document: str, at: int, wanted: str) -> int | None:
    """Find where the value of a member of an object begins."""
    while document[at] != "}":
        name, end = _DECODER.raw_decode(document, _skip(document, at + 1))
        value = _skip(document, _skip(document, end) + 1)
        if name == wanted:
            return value
        at = _skip(document, _DECODER.raw_decode(document, value)[1])
    return None


def _skip(document: str, at: int) -> int:
    """Find what is not white space."""
    while document[at : at + 1].isspace():
        at += 1
    return at


def _statement(place: str, statement: Mapping[str, Any], actions: Actions) -> Iterator[str]:
    resources = dict(_listed(f"{place}.Resource", statement["Resource"]))
    fitting: set[str] = set()
    matching: dict[str, set[str]] = {}
    for at, action in _listed(f"{place}.Action", statement["Action"]):
        unknown = unknown_action(action, actions)
        if unknown is not None:
            yield f"{at}: {unknown}"
        else:
            matching[f"{at}: {action}"] = {form for name in _matching(action, actions) for form in actions[name]}
    forms = {form for each in matching.values() for form in each}
    if not forms:
        return
    for at, resource in resources.items():
        if any(_fits(resource, form) for form in forms):
            fitting.add(resource)
        else:
            yield f"{at}: {resource} matches nothing that these actions are needed on{_why(resource, forms)}"
    for action, needed in matching.items():
        if fitting and not any(_fits(resource, form) for resource in fitting for form in needed):
            yield f"{action} is not needed on any of the resources here; it is needed on {_shown(needed)}"


def _listed(place: str, content: str | list[str]) -> Iterator[tuple[str, str]]:
    """The entries of a member that may be a list, with their places."""
    if isinstance(content, str):
        yield place, content
    else:
        yield from ((f"{place}[{i}]", each) for i, each in enumerate(content))


def _matching(pattern: str, actions: Iterable[str]) -> list[str]:
    match = glob(pattern.lower()).fullmatch
    return [action for action in actions if match(action.lower())]


def _fits(resource: str, form: str) -> bool:
    """Whether a pattern of resources matches anything of a form; both field by field."""
    if resource == "*" or form == "*":
        return resource == "*"
    return all(map(_meet, resource.split(":", 5), form.split(":", 5)))


def _why(resource: str, forms: Iterable[str]) -> str:
    fields = resource.split(":", 5)
    same = sorted(form for form in forms if form != "*" and _meet(fields[2], form.split(":", 5)[2]))
    if not same:
        return f"; they are needed on {_shown(forms)}"
    for name, field, expected in zip(_FIELDS, fields, same[0].split(":", 5), strict=False):
        if not _meet(field, expected):
            return f"; the {name} here is {expected or 'empty'}, not {field or 'empty'}"
    return f"; expected {_shown(form.split(':', 5)[5] for form in same)} at its end, where * may stand for any"


def _shown(forms: Iterable[str]) -> str:
    return " or ".join(
        "*, as it takes no resource"
        if form == "*"
        else form.replace("*/*", "<bucket>/<key>").replace("#" * 32, "<32 hex>")
        for form in sorted(forms)
    )


def _meet(pattern: str, form: str) -> bool:
    """Whether a pattern, with `*` and `?`, matches anything of a form.

    Walks through the pattern with all places in the form where one can be by then.
    """
    places = _with_skipped({0}, form)
    for character in pattern:
        if character == "*":
            places = set(range(min(places, default=len(form) + 1), len(form) + 1))
        else:
            places = _with_skipped(_after(character, places, form), form)
    return len(form) in places


def _after(character: str, places: Iterable[int], form: str) -> set[int]:
    found = set()
    for place in places:
        expected = form[place : place + 1]
        if expected == "*":
            found.add(place)
        elif expected and (character == "?" or character in (_HEX if expected == "#" else {expected})):
            found.add(place + 1)
    return found


def _with_skipped(places: Iterable[int], form: str) -> set[int]:
    """Add the places behind a `*` of the form, which may be empty."""
    found = set(places)
    for place in range(len(form)):
        if place in found and form[place] == "*":
            found.add(place + 1)
    return found
