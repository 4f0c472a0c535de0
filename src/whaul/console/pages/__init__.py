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
    manual,
    messages,
    replays,
    transfers,
)

PAGES: Final[tuple[Page, ...]] = (
    *messages.PAGES,
    *deliveries.PAGES,
    *dead_letters.PAGES,
    *replays.PAGES,
    *archive.PAGES,
    *account_changes.PAGES,  # its /accounts/link comes before any /accounts/{account}
    *accounts.PAGES,
    *transfers.PAGES,
    *doctor.PAGES,
    *manual.PAGES,
)
