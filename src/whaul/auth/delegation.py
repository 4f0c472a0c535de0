"""What an access key may hand on: a key that it makes or changes may do no more than itself.

Otherwise whoever may manage keys would have every right there is, by making a key that has it. Policies are compared
by their patterns, not by what there is to be named, so that the answer stays true for what is made later. What cannot
be told for sure counts as more: each pattern that is allowed must lie within one of the other policy, and a Deny of
that one which may touch it must be repeated.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from whaul.auth.policy import Policy, Statement, glob

_FIELDS: Final = 6
"""Of an ARN; only the last may hold colons."""
_WILDCARD: Final = re.compile(r"[*?]")


def excess(policy: Policy, by: Policy) -> str | None:
    """Say what a policy allows beyond `by`, in words for the holder of a key with that one; None if nothing."""
    bounds = [_Bound(each) for each in by.statements]
    allows = [each for each in bounds if each.statement.allows]
    denies = [_Bound(each) for each in policy.statements if not each.allows]
    missing = [
        each.statement
        for each in bounds
        if not each.statement.allows and not any(own.contains(each.statement) for own in denies)
    ]
    for statement in policy.statements:
        if not statement.allows:
            continue
        beyond = _beyond(statement, allows)
        if beyond is not None:
            return f"{statement.name} allows {beyond[0]} on {beyond[1]}, which your key does not"
        for denied in missing:
            if _touches(statement, denied):
                return f"{statement.name} allows what {denied.name} of your key's policy denies; repeat that Deny"
    return None


class _Bound:
    """A statement, and what lies within its patterns."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._actions = [_outer(each.lower()) for each in statement.action_texts]
        self._resources = [
            None if each == "*" else [_outer(field) for field in _fields(each)] for each in statement.resource_texts
        ]

    def holds_action(self, pattern: str) -> bool:
        """Whether a pattern of actions matches only what this one does."""
        text = pattern.lower()
        return any(outer.fullmatch(text) for outer in self._actions)

    def holds_resource(self, pattern: str) -> bool:
        """Whether a pattern of resources matches only what this one does."""
        fields = None if pattern == "*" else _fields(pattern)
        return any(
            outers is None
            or (fields is not None and all(o.fullmatch(field) for o, field in zip(outers, fields, strict=True)))
            for outers in self._resources
        )

    def contains(self, statement: Statement) -> bool:
        """Whether a statement covers only what this one does."""
        return all(map(self.holds_action, statement.action_texts)) and all(
            map(self.holds_resource, statement.resource_texts)
        )


def _beyond(statement: Statement, allows: Sequence[_Bound]) -> tuple[str, str] | None:
    """Find an action and a resource that no other statement allows together."""
    by_resources: dict[frozenset[int], str] = {}
    for resource in statement.resource_texts:
        holding = frozenset(i for i, each in enumerate(allows) if each.holds_resource(resource))
        by_resources.setdefault(holding, resource)
    for action in statement.action_texts:
        holding = frozenset(i for i, each in enumerate(allows) if each.holds_action(action))
        for others, resource in by_resources.items():
            if not holding & others:
                return action, resource
    return None


def _touches(one: Statement, other: Statement) -> bool:
    """Whether both statements may cover the same."""
    return _any_meet([each.lower() for each in one.action_texts], [each.lower() for each in other.action_texts]) and (
        any(
            "*" in (first, second) or all(map(_may_meet, _fields(first), _fields(second)))
            for first in one.resource_texts
            for second in other.resource_texts
        )
    )


def _any_meet(ones: Iterable[str], others: Sequence[str]) -> bool:
    return any(_may_meet(one, other) for one in ones for other in others)


def _may_meet(one: str, other: str) -> bool:
    """Whether both patterns may match the same text: they do not if their beginnings or their ends differ."""
    (start, end), (other_start, other_end) = _literal_ends(one), _literal_ends(other)
    head, tail = min(len(start), len(other_start)), min(len(end), len(other_end))
    return start[:head] == other_start[:head] and end[len(end) - tail :] == other_end[len(other_end) - tail :]


def _literal_ends(pattern: str) -> tuple[str, str]:
    parts = _WILDCARD.split(pattern)
    return parts[0], parts[-1]


def _outer(pattern: str) -> re.Pattern[str]:
    """Compile a pattern to be matched with another one: its `?` stands for no `*`, which may be nothing or much."""
    return glob(pattern, one_character=r"[^*]")


def _fields(resource: str) -> list[str]:
    return resource.split(":", _FIELDS - 1)
