"""The pages, in the order of the navigation."""

from itertools import chain
from typing import Final

from whaul.console.navigation import Entry, Navigation
from whaul.console.page import Page
from whaul.console.pages import (
    account_changes,
    accounts,
    archive,
    dead_letters,
    deliveries,
    doctor,
    keys,
    manual,
    messages,
    policy_simulator,
    replays,
    send,
    simulator,
    transfers,
)
from whaul.settings import Settings

GROUPS: Final[tuple[tuple[Page, ...], ...]] = (
    (*messages.PAGES, *deliveries.PAGES, *dead_letters.PAGES, *replays.PAGES, *archive.PAGES),
    (
        *account_changes.PAGES,  # its /accounts/link comes before any /accounts/{account}
        *accounts.PAGES,
        *send.PAGES,
    ),
    (
        *transfers.PAGES,
        *doctor.PAGES,
        *policy_simulator.PAGES,  # before the page of a key, whose address could be the same
        *keys.PAGES,
        *manual.PAGES,
    ),
)
PAGES: Final = tuple(chain.from_iterable(GROUPS))


def _groups_of(settings: Settings) -> tuple[tuple[Page, ...], ...]:
    return (*GROUPS, simulator.PAGES) if simulator.is_there(settings) else GROUPS


def pages_of(settings: Settings) -> tuple[Page, ...]:
    """List the pages, with those that only `whaul dev` has."""
    return tuple(chain.from_iterable(_groups_of(settings)))


def navigation_of(settings: Settings) -> Navigation:
    """List the pages that have a title."""
    groups = (
        tuple(Entry(page.title, page.path, page.action) for page in group if page.title and page.action)
        for group in _groups_of(settings)
    )
    return Navigation(tuple(groups))
