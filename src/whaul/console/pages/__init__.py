"""The pages, in the order of the navigation."""

from typing import Final

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

PAGES: Final[tuple[Page, ...]] = (
    *messages.PAGES,
    *deliveries.PAGES,
    *dead_letters.PAGES,
    *replays.PAGES,
    *archive.PAGES,
    *account_changes.PAGES,  # its /accounts/link comes before any /accounts/{account}
    *accounts.PAGES,
    *send.PAGES,
    *transfers.PAGES,
    *policy_simulator.PAGES,  # before the page of a key, whose address could be the same
    *keys.PAGES,
    *doctor.PAGES,
    *manual.PAGES,
)


def pages_of(settings: Settings) -> tuple[Page, ...]:
    """List the pages, with those that only `whaul dev` has."""
    return (*PAGES, *simulator.PAGES) if simulator.is_there(settings) else PAGES
