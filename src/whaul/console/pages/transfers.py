"""Transfers: what servers do at this moment, what they leave alone, and what waits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from starlette.responses import HTMLResponse, Response

from whaul.console.page import Page
from whaul.console.pages.deliveries import STATES, may
from whaul.console.servers import Circuit, ServerState, Usage
from whaul.console.visit import Visit
from whaul.events.archive.parking import Parked, parked
from whaul.events.under_way import (
    MAX_FILES,
    FileUnderWay,
    StoppedDestination,
    files_under_way,
    stopped_destinations,
)
from whaul.model import LinkedAccount
from whaul.operations.actions import VIEW_ACCOUNTS, VIEW_ARCHIVES, VIEW_DELIVERIES, VIEW_MESSAGES, VIEW_SERVER

KINDS: Final = {"host": "host", "phone_number": "number", "account": "account"}
ROWS: Final = 50
"""Of each list."""
MUCH: Final = 50
"""Percent of Meta's limit from which to look."""
TOO_MUCH: Final = 80
"""The same, from which to do something, as the alert has it."""


@dataclass(frozen=True, slots=True)
class Now:
    """What the page shows, as it is at a moment."""

    servers: Sequence[ServerState]
    is_named: bool
    """Whether a setting names the servers."""
    circuits: Sequence[tuple[Circuit, str]]
    """With the server."""
    usages: Sequence[Usage]
    files: Sequence[FileUnderWay]
    hidden_files: int
    """Those that the visitor may not see."""
    destinations: Sequence[StoppedDestination]
    parked: Mapping[str, Parked]
    """Accounts whose files wait, since Meta refuses the token."""
    names: Mapping[str, str]
    """Of numbers and accounts that it shows, by our ids and Meta's."""
    more: Mapping[str, int]
    """How many more there are of what it shows only in part."""
    events: frozenset[str]
    """Accounts whose messages the visitor may open."""

    max_files = MAX_FILES
    states = STATES
    kinds = KINDS

    @staticmethod
    def mood(percent: float) -> str:
        """How good it is that so much of a limit is used."""
        return "bad" if percent >= TOO_MUCH else "wait" if percent >= MUCH else "good"


async def show(visit: Visit) -> Response:
    """Show the page."""
    visit.require(VIEW_SERVER)
    return await visit.page("transfers.html", now=await _now(visit), urls=visit.console.servers.urls)


async def show_now(visit: Visit) -> Response:
    """Send the part of it that changes."""
    visit.require(VIEW_SERVER)
    return HTMLResponse(visit.part("transfers_now.html", "now", await _now(visit)))


async def _now(visit: Visit) -> Now:
    console = visit.console
    servers = await console.servers.look()
    files = await files_under_way(console.store, console.owner)
    stopped = await stopped_destinations(console.store, console.cipher, console.owner)
    waiting = await parked(console.store, console.cipher, console.owner, await visit.account_ids(VIEW_ARCHIVES))
    shown = [each for each in files if visit.may_on_account(VIEW_ARCHIVES, each.waba_id)]
    circuits = [(circuit, server.url) for server in servers for circuit in server.circuits]
    usages = _highest(usage for server in servers for usage in server.usages)
    named = {circuit.name for circuit, _ in circuits[:ROWS]} | {usage.account for usage in usages[:ROWS]}
    named |= {each.account_id for each in shown} | {*islice(waiting, ROWS)}
    accounts = await console.registry.accounts.named(named)
    return Now(
        servers=servers,
        is_named=bool(console.settings.console_servers),
        circuits=circuits[:ROWS],
        usages=sorted(usages[:ROWS]),
        files=shown,
        hidden_files=len(files) - len(shown),
        destinations=[each for each in stopped if may(visit, VIEW_DELIVERIES, each.name)],
        parked={id_: waiting[id_] for id_ in islice(waiting, ROWS)},
        names=_names(each for each in accounts if visit.may(VIEW_ACCOUNTS, each.arn)),
        more={
            "circuits": len(circuits[ROWS:]),
            "usages": len(usages[ROWS:]),
            "parked": max(0, len(waiting) - ROWS),
        },
        events=frozenset(each.waba_id for each in shown if visit.may_on_account(VIEW_MESSAGES, each.waba_id)),
    )


def _highest(usages: Iterable[Usage]) -> list[Usage]:
    """Take the highest that servers know, since each knows what it was told itself; the highest of all first."""
    highest: dict[tuple[str, str], Usage] = {}
    for usage in usages:
        known = highest.setdefault((usage.kind, usage.account), usage)
        if usage.percent > known.percent:
            highest[usage.kind, usage.account] = usage
    return sorted(highest.values(), key=lambda usage: (-usage.percent, usage))


def _names(accounts: Iterable[LinkedAccount]) -> dict[str, str]:
    names = {}
    for account in accounts:
        names[account.id] = names[account.meta_waba_id] = account.name or account.meta_waba_id
        names |= {number.id: number.display_phone_number for number in account.phone_numbers}
    return names


PAGES: Final = (
    Page(path="/transfers", action=VIEW_SERVER, answer=show, title="Transfers"),
    Page(path="/transfers/now", action=VIEW_SERVER, answer=show_now, is_recorded=False),
)
