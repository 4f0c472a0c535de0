"""Which of Meta's objects belong to which account, as far as it is known.

A policy allows a caller an account, while its token may reach the objects of several: flows, templates, data sets. So
each object that a caller names by Meta's id is looked up once, and what was found is remembered: none of them moves.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from whaul.errors import ResourceNotFoundException

MAX_KNOWN: Final = 10_000
"""Objects that are remembered; beyond that, the one that was asked for longest ago is forgotten."""


class Owned:
    """The objects that were found to be an account's."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def check(self, account_id: str, object_id: str, look: Callable[[], Awaitable[bool]], what: str) -> None:
        """Raise `ResourceNotFoundException` unless the object is the account's; `look` asks Meta whether it is.

        `what` names such an object, "flow" say.
        """
        key = account_id, object_id
        if key in self._known:
            self._known.move_to_end(key)
            return
        if not await look():
            raise not_owned(what)
        self.add(account_id, object_id)

    def add(self, account_id: str, object_id: str) -> None:
        """Take note of an object that is the account's."""
        self._known[account_id, object_id] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def forget(self, account_id: str, object_id: str) -> None:
        """Take note that an object is no more."""
        self._known.pop((account_id, object_id), None)


def not_owned(what: str, by: str = "id") -> ResourceNotFoundException:
    """Build the error for an object that is not there, or another account's; `by` is what it was named by."""
    return ResourceNotFoundException(f"This account has no {what} with this {by}.")
