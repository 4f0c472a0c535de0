"""What a page is: a row of a table, as the operations have it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

if TYPE_CHECKING:
    from whaul.console.visit import Visit

SMALL_FORM: Final = 64 * 1024
"""Bytes of a form without files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, or what a form on one is sent to."""

    path: str
    """With parameters, as Starlette has them: `/messages/{id}`."""
    action: str | None
    """What the caller's policy must allow on something for the page to be opened; None for whoever is signed in."""
    answer: "Callable[[Visit], Awaitable[Response]]"
    title: str | None = None
    """In the navigation; None for a page that is not there."""
    posts: bool = False
    """Whether it takes a form, and may change something."""
    max_body: int = SMALL_FORM
    """Bytes."""
    is_recorded: bool = True
    """Whether the audit log has a record of each visit; not of what a page loads by itself over and over."""
