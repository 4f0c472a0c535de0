"""Replays: events of the journal sent to a destination once more, after they were counted."""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from whaul.console.filters import KINDS, STATES, Filters, numbers_of
from whaul.console.page import Page
from whaul.console.pages.deliveries import MAX_LISTED, destination_of
from whaul.console.rendering import counted
from whaul.console.visit import Visit
from whaul.events.delivery.replays import Matched
from whaul.operations.actions import REPLAY_DELIVERY, VIEW_CONTENT, VIEW_DELIVERIES

COUNT: Final = "count"
"""The member of a form that asks for a count."""


async def ask(visit: Visit) -> Response:
    """Choose events, and say how many would be sent."""
    destination, query = await destination_of(visit, REPLAY_DELIVERY), visit.request.query_params
    filters = Filters.of(query)
    console = visit.console
    matched: Matched | None = None
    if query.get(COUNT):
        filters = filters.pinned()
        matched = await console.replays.match(await filters.seen(visit), destination)
    return await visit.page(
        "replay.html",
        destination=destination,
        filters=filters,
        matched=matched,
        waiting=0 if matched is None else matched.events - matched.new,
        kinds=KINDS,
        states=STATES,
        numbers=await _numbers(visit, destination.account_ids),
        destinations=await visit.destinations(VIEW_DELIVERIES),
        may_read=visit.may_somewhere(VIEW_CONTENT),
        command=filters.command(f"whaul events replay --to {destination.name}"),
    )


async def start(visit: Visit) -> Response:
    """Send them."""
    destination, form = await destination_of(visit, REPLAY_DELIVERY), await visit.form()
    filters = Filters.of({name: str(value) for name, value in form.items()})
    console, name = visit.console, destination.name
    selection = await filters.seen(visit)
    matched = await console.replays.match(selection, destination)
    if not matched.new:
        return visit.back(f"/deliveries/{name}", f"There is nothing to send that does not wait for {name} already.")
    visit.details["job"] = await console.replays.start(selection, destination, matched)
    return visit.back(f"/deliveries/{name}", f"{counted(matched.new, 'event')} sent once more, while a server runs.")


async def _numbers(visit: Visit, account_ids: Sequence[str]) -> list[tuple[str, str]] | None:
    """List the numbers to choose from; None if there are too many for a list."""
    if len(account_ids) > MAX_LISTED:
        return None
    return numbers_of(visit, await visit.console.registry.accounts.named(account_ids))


PAGES: Final = (
    Page(path="/deliveries/{name}/replay", action=REPLAY_DELIVERY, answer=ask),
    Page(path="/deliveries/{name}/replay", action=REPLAY_DELIVERY, answer=start, posts=True),
)
