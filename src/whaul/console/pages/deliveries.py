"""Deliveries: where events go, how that is going, and what to do where it is not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.responses import Response

from whaul.console.events import OUTCOMES, State
from whaul.console.page import Page
from whaul.console.paging import place_of, query_of
from whaul.console.visit import PageError, Visit
from whaul.events.delivery.history import MAX_LOOKED_AT, SPAN, Pace, Place
from whaul.events.delivery.replays import Replay
from whaul.events.delivery.sending import try_destination
from whaul.events.delivery.waiting import Waiting, waiting_for
from whaul.events.routing import Destination
from whaul.events.targets import TargetError
from whaul.operations.actions import MANAGE_DESTINATIONS, REPLAY_DELIVERY, VIEW_DELIVERIES, VIEW_MESSAGES

ROWS: Final = 50
MAX_LISTED: Final = 50
"""Accounts of a destination that are listed, or whose numbers are."""
WAITING: Final = 10
"""Of what waits, so many are shown."""
PATIENCE: Final = 30.0
"""Seconds in which a target has to say something to a test event."""
STATES: Final = {
    "active": State("active", "good"),
    "paused": State("paused", "wait"),
    "open": State("refuses everything", "bad"),
    "disabled": State("gone for good", "bad"),
}
JOBS: Final = {"running": "wait", "done": "good", "cancelled": "plain"}


@dataclass(frozen=True, slots=True)
class Standing:
    """A destination, and how it stands."""

    destination: Destination
    waiting: Waiting
    pace: Pace

    @property
    def state(self) -> State:
        """What is done there."""
        return STATES[self.destination.state]

    @property
    def per_minute(self) -> float:
        """Deliveries in a minute, of late."""
        return self.pace.delivered * 60 / SPAN

    @property
    def last_error(self) -> str | None:
        """What it said last, if it refuses everything, or anything that waits."""
        return self.destination.last_error or self.waiting.last_error


async def destination_of(visit: Visit, action: str) -> Destination:
    """Find the destination that an address names. Raises PageError, and AccessDeniedException without the right."""
    name = visit.request.path_params["name"]
    visit.require(action, visit.console.arns.event_destination(name))
    found = await visit.console.destinations.find(name)
    if found is None:
        raise PageError(f"There is no destination {name}, or not any more.")
    return found


def may(visit: Visit, action: str, name: str) -> bool:
    """Say whether something may be done with a destination."""
    return visit.may(action, visit.console.arns.event_destination(name))


async def show_list(visit: Visit) -> Response:
    """Show the destinations, and how each stands."""
    return await visit.page("deliveries.html", **await _listed(visit))


async def show_list_now(visit: Visit) -> Response:
    """Show again what changes there."""
    return visit.fragment("deliveries_now.html", **await _listed(visit))


async def show_one(visit: Visit) -> Response:
    """Show a destination: what waits for it, and the latest attempts."""
    destination = await destination_of(visit, VIEW_DELIVERIES)
    values = await _now(visit, destination) | await _attempts(visit, destination)
    return await visit.page(
        "delivery.html",
        facts=_facts(visit, destination),
        outcomes=[("failed", "all that failed"), *OUTCOMES.items()],
        looked_at=MAX_LOOKED_AT,
        **values,
    )


async def show_one_now(visit: Visit) -> Response:
    """Show again how a destination stands."""
    return visit.fragment("delivery_now.html", **await _now(visit, await destination_of(visit, VIEW_DELIVERIES)))


async def show_attempts_now(visit: Visit) -> Response:
    """Show again the latest attempts."""
    return visit.fragment(
        "delivery_attempts.html", **await _attempts(visit, await destination_of(visit, VIEW_DELIVERIES))
    )


async def _listed(visit: Visit) -> dict[str, Any]:
    found = [each for each in await visit.console.destinations.all() if may(visit, VIEW_DELIVERIES, each.name)]
    return {
        "standings": await _standings(visit, found),
        "minutes": SPAN // 60,
        "is_linked": await visit.console.registry.accounts.count() > 0,
    }


async def _now(visit: Visit, destination: Destination) -> dict[str, Any]:
    console = visit.console
    return _common(visit, destination) | {
        "standing": (await _standings(visit, [destination]))[0],
        "waiting": await console.history.waiting(destination, WAITING),
        "jobs": [job for job in await console.replays.all() if job.destination == destination.number][:WAITING],
        "moods": JOBS,
        "minutes": SPAN // 60,
    }


async def _attempts(visit: Visit, destination: Destination) -> dict[str, Any]:
    query = visit.request.query_params
    outcome = query.get("outcome", "")
    if outcome not in ("", "failed", *OUTCOMES):
        raise PageError(f"There is no outcome {outcome}.", 400)
    before = place_of(query.get("before", ""), 3)
    attempts, next_ = await visit.console.history.attempts(
        destination, ROWS, None if before is None else Place(*before), outcome=outcome or None
    )
    chosen = {"outcome": outcome} if outcome else {}
    return _common(visit, destination) | {
        "attempts": attempts,
        "outcome": outcome,
        "words": OUTCOMES,
        "next": None if next_ is None else query_of(chosen, next_),
        "newest": query_of(chosen) if before else None,
    }


def _common(visit: Visit, destination: Destination) -> dict[str, Any]:
    return {
        "destination": destination,
        "may_see": lambda waba_id: visit.may_on_account(VIEW_MESSAGES, waba_id),
        "may_replay": may(visit, REPLAY_DELIVERY, destination.name),
        "may_manage": may(visit, MANAGE_DESTINATIONS, destination.name),
        "now": datetime.now(UTC),
    }


async def pause(visit: Visit) -> Response:
    """Deliver nothing to it until it is resumed."""
    name = (await destination_of(visit, MANAGE_DESTINATIONS)).name
    await visit.console.destinations.pause(name)
    return visit.back(f"/deliveries/{name}", f"Paused {name}. Its events wait until it is resumed.")


async def resume(visit: Visit) -> Response:
    """Deliver to it again, whatever it was that stopped it."""
    name = (await destination_of(visit, MANAGE_DESTINATIONS)).name
    await visit.console.destinations.resume(name)
    return visit.back(f"/deliveries/{name}", f"{name} goes on.")


async def try_out(visit: Visit) -> Response:
    """Send it a sample, and say what comes back."""
    destination = await destination_of(visit, MANAGE_DESTINATIONS)
    console, name = visit.console, destination.name
    linked = await console.registry.accounts.named(destination.account_ids[:MAX_LISTED])
    accounts = {account.id: account.meta_waba_id for account in linked}
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await try_destination(console.targets, destination, accounts)
    except TargetError as error:
        raise PageError(str(error), 400) from None
    except TimeoutError:
        told = f"{name} said nothing to the test event in {PATIENCE:.0f} seconds."
    else:
        verb = "took" if answer.accepted else "did not take"
        told = f"{name} {verb} the test event, after {answer.seconds:.2f} s: {answer.detail}"
    return visit.back(f"/deliveries/{name}", told)


async def cancel(visit: Visit) -> Response:
    """Send no more of a replay."""
    destination = await destination_of(visit, REPLAY_DELIVERY)
    job, here = visit.request.path_params["job"], f"/deliveries/{destination.name}"
    jobs: Sequence[Replay] = await visit.console.replays.all()
    if not any(each.id == job and each.destination == destination.number for each in jobs):
        raise PageError(f"There is no replay {job} to {destination.name}.")
    visit.details["job"] = job
    if not await visit.console.replays.cancel(job):
        return visit.back(here, "That replay is over already.")
    return visit.back(here, "The replay is cancelled. What waits for the destination already is still sent.")


async def _standings(visit: Visit, destinations: Sequence[Destination]) -> list[Standing]:
    console = visit.console
    paces = await console.history.paces() if destinations else {}
    return [
        Standing(
            each,
            await waiting_for(console.store, console.cipher, console.owner, each.number),
            paces.get(each.number, Pace()),
        )
        for each in destinations
    ]


def _facts(visit: Visit, destination: Destination) -> dict[str, Any]:
    chosen, ids = destination.filter, destination.account_ids
    only = {"fields": chosen.fields, "kinds": chosen.kinds, "types": chosen.types}
    only |= {"phone numbers": chosen.meta_phone_number_ids}
    return {
        "Accounts": ", ".join(ids[:MAX_LISTED])
        + (f" and {len(ids) - MAX_LISTED:,} more" if len(ids) > MAX_LISTED else "")
        or "none: nothing is sent here",
        "Only": "; ".join(f"{name} {', '.join(sorted(each))}" for name, each in only.items() if each)
        or "everything of Meta's",
        "Format": destination.format,
        "Order": "kept within a conversation" if destination.ordered else "none",
        "Waits for files": f"{destination.media_wait} s at most" if destination.media_wait else "no",
        "At once": f"{destination.concurrency} for each worker",
        "ARN": visit.console.arns.event_destination(destination.name),
    }


PAGES: Final = (
    Page(path="/deliveries", action=VIEW_DELIVERIES, answer=show_list, title="Deliveries"),
    Page(path="/deliveries/{name}", action=VIEW_DELIVERIES, answer=show_one),
    Page(path="/now/deliveries", action=VIEW_DELIVERIES, answer=show_list_now, is_recorded=False),
    Page(path="/now/deliveries/{name}", action=VIEW_DELIVERIES, answer=show_one_now, is_recorded=False),
    Page(path="/now/deliveries/{name}/attempts", action=VIEW_DELIVERIES, answer=show_attempts_now, is_recorded=False),
    Page(path="/deliveries/{name}/pause", action=MANAGE_DESTINATIONS, answer=pause, posts=True),
    Page(path="/deliveries/{name}/resume", action=MANAGE_DESTINATIONS, answer=resume, posts=True),
    Page(path="/deliveries/{name}/test", action=MANAGE_DESTINATIONS, answer=try_out, posts=True),
    Page(path="/deliveries/{name}/replays/{job}/cancel", action=REPLAY_DELIVERY, answer=cancel, posts=True),
)
