"""The pages, in the order of the navigation."""

from typing import Final

from whaul.console.page import Page
from whaul.console.pages import archive, dead_letters, deliveries, doctor, manual, messages, replays

PAGES: Final[tuple[Page, ...]] = (
    *messages.PAGES,
    *deliveries.PAGES,
    *dead_letters.PAGES,
    *replays.PAGES,
    *archive.PAGES,
    *doctor.PAGES,
    *manual.PAGES,
)
