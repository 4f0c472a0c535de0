"""Dead letters of a destination: why they were given up, and all or some of them tried again or removed."""

import shlex
from dataclasses import dataclass
from typing import Final, Literal

from starlette.responses import Response

from whaul.console.page import Page
from whaul.console.pages.deliveries import ROWS, destination_of, may
from whaul.console.paging import place_of, query_of
from whaul.console.rendering import counted
from whaul.console.visit import PageError, Visit
from whaul.events.delivery.dead import MAX_LOOKED_AT, Place
from whaul.events.routing import Destination
from whaul.operations.actions import MANAGE_DESTINATIONS, REPLAY_DELIVERY, VIEW_DELIVERIES, VIEW_MESSAGES

MAX_CAUSE: Final = 100
"""Characters."""
Verb = Literal["retry", "drop"]
RIGHTS: Final[dict[Verb, str]] = {"retry": REPLAY_DELIVERY, "drop": MANAGE_DESTINATIONS}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which dead letters: those of some events, or all, or all of a cause."""

    ids: tuple[str, ...] = ()
    cause: str | None = None

    @property
    def members(self) -> list[tuple[str, str]]:
        """As a form has it."""
        return [*(("id", id_) for id_ in self.ids), *([("cause", self.cause)] if self.cause else [])]

    def command(self, verb: str, destination: Destination) -> str:
        """Write the command that does the same."""
        cause = f" --cause {shlex.quote(self.cause)}" if self.cause else ""
        ids = map(shlex.quote, self.ids)
        return " ".join(["whaul events dead", verb, *ids, "--destination", destination.name]) + cause


async def show(visit: Visit) -> Response:
    """Show them, grouped by their causes, and one by one."""
    destination, query = await destination_of(visit, VIEW_DELIVERIES), visit.request.query_params
    cause = query.get("cause", "")[:MAX_CAUSE]
    before = place_of(query.get("before", ""), 2)
    dead = visit.console.dead_letters
    letters, next_ = await dead.page([destination], ROWS, None if before is None else Place(*before), cause or None)
    causes = await dead.causes(destination)
    chosen = {"cause": cause} if cause else {}
    return await visit.page(
        "dead_letters.html",
        destination=destination,
        causes=causes,
        is_part=sum(each.count for each in causes) >= MAX_LOOKED_AT,
        looked_at=MAX_LOOKED_AT,
        cause=cause,
        letters=letters,
        may_see=lambda waba_id: visit.may_on_account(VIEW_MESSAGES, waba_id),
        next=None if next_ is None else query_of(chosen, next_),
        newest=query_of(chosen) if before else None,
        may_retry=may(visit, REPLAY_DELIVERY, destination.name),
        may_drop=may(visit, MANAGE_DESTINATIONS, destination.name),
        command=Chosen(cause=cause or None).command("list", destination),
        query=query_of(chosen),
    )


async def ask_retry(visit: Visit) -> Response:
    """Say how many would be tried again."""
    return await _ask(visit, "retry")


async def ask_drop(visit: Visit) -> Response:
    """Say how many would be removed."""
    return await _ask(visit, "drop")


async def retry(visit: Visit) -> Response:
    """Try them again."""
    return await _change(visit, "retry")


async def drop(visit: Visit) -> Response:
    """Remove them."""
    return await _change(visit, "drop")


async def _ask(visit: Visit, verb: Verb) -> Response:
    destination, query = await destination_of(visit, RIGHTS[verb]), visit.request.query_params
    chosen = _chosen(query.getlist("id"), query.get("cause", ""))
    here = f"/deliveries/{destination.name}/dead"
    if query.get("only") and not chosen.ids:
        return visit.back(here, "Choose some dead letters first.")
    return await visit.page(
        "dead_letters_change.html",
        destination=destination,
        verb=verb,
        chosen=chosen,
        matched=await visit.console.dead_letters.count(destination, chosen.ids, cause=chosen.cause),
        command=chosen.command(verb, destination),
        here=here,
    )


async def _change(visit: Visit, verb: Verb) -> Response:
    destination, form = await destination_of(visit, RIGHTS[verb]), await visit.form()
    chosen = _chosen([str(each) for each in form.getlist("id")], str(form.get("cause", "")))
    dead = visit.console.dead_letters
    change = {"retry": dead.retry, "drop": dead.drop}[verb]
    done = await change(destination, chosen.ids, cause=chosen.cause)
    visit.details["deadLetters"] = done
    told = {
        "retry": f"{counted(done, 'dead letter')} tried again, as soon as a server runs.",
        "drop": f"{counted(done, 'dead letter')} removed. The events stay in the journal.",
    }[verb]
    return visit.back(f"/deliveries/{destination.name}" + ("/dead" if verb == "drop" else ""), told)


def _chosen(ids: list[str], cause: str) -> Chosen:
    if len(ids) > ROWS or any(len(id_) > MAX_CAUSE for id_ in ids):
        raise PageError(f"Choose at most {ROWS} dead letters, or all of a cause.", 400)
    return Chosen(tuple(ids), cause[:MAX_CAUSE] or None)


PAGES: Final = (
    Page(path="/deliveries/{name}/dead", action=VIEW_DELIVERIES, answer=show),
    Page(path="/deliveries/{name}/dead/retry", action=REPLAY_DELIVERY, answer=ask_retry),
    Page(path="/deliveries/{name}/dead/retry", action=REPLAY_DELIVERY, answer=retry, posts=True),
    Page(path="/deliveries/{name}/dead/drop", action=MANAGE_DESTINATIONS, answer=ask_drop),
    Page(path="/deliveries/{name}/dead/drop", action=MANAGE_DESTINATIONS, answer=drop, posts=True),
)
