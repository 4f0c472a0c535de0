"""The navigation: which pages somebody is shown, and which one first."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from whaul.auth.policy import Policy

NOWHERE: Final = "/docs/console"
"""Where somebody begins who may see no page of the navigation."""


class Entry(NamedTuple):
    """A page in it."""

    title: str
    path: str
    action: str
    """What a policy must allow on something for the page to be shown."""


@dataclass(frozen=True, slots=True)
class Navigation:
    """Pages in their order, those together that are about one thing."""

    groups: tuple[tuple[Entry, ...], ...]

    def of(self, policy: Policy) -> list[list[Entry]]:
        """List what a policy lets its holder see."""
        seen = [[entry for entry in group if policy.allows_somewhere(entry.action)] for group in self.groups]
        return [group for group in seen if group]

    def start(self, policy: Policy) -> str:
        """Find the first page that a policy lets its holder see."""
        return next((group[0].path for group in self.of(policy)), NOWHERE)
