"""The pages, in the order of the navigation."""

from typing import Final

from whaul.console.page import Page
from whaul.console.pages import manual, messages

PAGES: Final[tuple[Page, ...]] = (*messages.PAGES, *manual.PAGES)
