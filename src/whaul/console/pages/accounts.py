"""Accounts and numbers: what is linked, whether its token is good, where its events go, and what to change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from whaul.console.events import State
from whaul.console.page import Page
from whaul.console.visit import PageError, Visit
from whaul.doctor.accounts import EXPIRES_SOON
from whaul.events.archive.archives import ArchiveStatus
from whaul.events.archive.parking import Parked, parked
from whaul.events.arrivals import MAX_LOOKED_AT, Arrivals, arrivals
from whaul.events.delivery.destinations import API_NAME
from whaul.model import LinkedAccount, MetaPhoneNumber
from whaul.operations.actions import VIEW_ACCOUNTS, VIEW_ARCHIVES, VIEW_DELIVERIES, action_of
from whaul.registry.choosing import Chosen
from whaul.registry.errors import PageTokenError

LINK: Final = action_of("AssociateWhatsAppBusinessAccount")
UNLINK: Final = action_of("DisassociateWhatsAppBusinessAccount")
PUT: Final = action_of("PutWhatsAppBusinessAccountEventDestinations")
TAG: Final = action_of("TagResource")
UNTAG: Final = action_of("UntagResource")
SEND: Final = action_of("SendWhatsAppMessage")
ROWS: Final = 50
MAX_SEEN: Final = 1000
"""Accounts that a page looks at, for those that the visitor may see."""
MAX_TEXT: Final = 200
"""Characters."""
TROUBLES: Final = {
    "refused": "token refused by Meta",
    "expiring": "token expired, or soon",
    "incomplete": "not ready to send",
    "quality": "low quality",
}
KINDS: Final = {
    "message": "Messages",
    "status": "Statuses",
    "media": "Files",
    "echo": "Echoes",
    "call": "Calls",
    "notification": "Notifications",
}
QUALITY: Final = {"GREEN": "good", "YELLOW": "wait", "RED": "bad"}


@dataclass(frozen=True, slots=True)
class Linked:
    """An account, and what is known about how it does."""

    account: LinkedAccount
    parked: Parked | None
    arrivals: Arrivals | None

    @property
    def token(self) -> State:
        """Whether the token is good, as far as was seen."""
        return token_state(self.account, self.parked, datetime.now(UTC))


def token_state(account: LinkedAccount, refused: Parked | None, now: datetime) -> State:
    """Say whether an account's token is good, as far as was seen."""
    ends = account.token_expires_at
    if refused is not None:
        return State("refused", "bad")
    if ends is not None and ends <= now:
        return State("expired", "bad")
    if ends is not None and ends - now < EXPIRES_SOON:
        return State("expires soon", "wait")
    return State("not checked", "plain") if account.refreshed_at is None else State("good", "good")


def number_state(number: MetaPhoneNumber) -> State:
    """Say what Meta said of a number."""
    mood = "good" if number.status == "CONNECTED" else "bad" if number.is_registered else "wait"
    return State(number.status.lower().replace("_", " "), mood)


def quality_state(number: MetaPhoneNumber) -> State:
    """Say how Meta rates a number."""
    return State(number.quality_rating.lower(), QUALITY.get(number.quality_rating, "plain"))


async def show_list(visit: Visit) -> Response:
    """Show the linked accounts that fit, some at a time."""
    query = visit.request.query_params
    text, trouble = query.get("text", "").strip()[:MAX_TEXT], query.get("trouble", "")
    if trouble and trouble not in TROUBLES:
        raise PageError(f"There is no trouble {trouble[:MAX_TEXT]}.", 400)
    chosen = await _chosen(visit, text, trouble)
    accounts, next_ = await seen(visit, chosen, query.get("after"))
    given = {name: value for name, value in (("text", text), ("trouble", trouble)) if value}
    return await visit.page(
        "accounts.html",
        accounts=await _linked(visit, accounts),
        total=await _total(visit, chosen) if next_ or query.get("after") else len(accounts),
        text=text,
        trouble=trouble,
        troubles=[*TROUBLES.items()],
        number_state=number_state,
        quality_state=quality_state,
        next=None if next_ is None else urlencode({**given, "after": next_}),
        first=urlencode(given) if query.get("after") else None,
        looked_at=MAX_LOOKED_AT,
        may_link=visit.may(LINK),
    )


async def seen(visit: Visit, chosen: Chosen, token: str | None) -> tuple[list[LinkedAccount], str | None]:
    """Read some of the accounts that the visitor may see, and where the next page goes on. Raises PageError."""
    found: list[LinkedAccount] = []
    looked_at = 0
    while looked_at < MAX_SEEN:
        try:
            page = await visit.console.registry.accounts.page(ROWS - len(found), token, chosen)
        except PageTokenError:
            raise PageError("This address is not whole: begin with the first page.", 400) from None
        found += [each for each in page.accounts if visit.may(VIEW_ACCOUNTS, each.arn)]
        token, looked_at = page.next_token, looked_at + len(page.accounts)
        if token is None or len(found) == ROWS:
            break
    return found, token


async def show_one(visit: Visit) -> Response:
    """Show an account: its numbers, its token, where its events and files go."""
    return await show(visit, await account_of(visit, VIEW_ACCOUNTS))


async def show(visit: Visit, account: LinkedAccount, findings: Sequence[str] | None = None) -> Response:
    """Show an account, and what was found when Meta was asked."""
    console = visit.console
    came = await arrivals(console.store, console.owner, [account.id])
    archives: list[ArchiveStatus] = await console.archives.all(account.id)
    put = await console.operations.components.event_destinations.of([account.id])
    every = [*await console.destinations.all()]
    shown = [each for each in every if visit.may(VIEW_DELIVERIES, console.arns.event_destination(each.name))]
    return await visit.page(
        "account.html",
        linked=(await _linked(visit, [account]))[0],
        account=account,
        numbers_came=came,
        findings=findings,
        kinds=KINDS,
        stored_at=await console.registry.accounts.token_stored_at(account.id),
        destinations=[each for each in shown if account.id in each.account_ids],
        hidden_destinations=len(shown) < len(every),
        put=next((each.arn for each in put.get(account.id, [])), None),
        known=[
            (console.arns.event_destination(each.name), f"{each.name}: {each.target}")
            for each in shown
            if not each.name.startswith(API_NAME)
        ],
        archive=archives[0] if archives else None,
        may_see_archive=visit.may(VIEW_ARCHIVES, account.arn),
        tags={id_: await console.registry.tags.all(id_) or {} for id_ in resources(account)},
        number_state=number_state,
        quality_state=quality_state,
        looked_at=MAX_LOOKED_AT,
        may_link=visit.may(LINK),
        may_unlink=visit.may(UNLINK, account.arn),
        may_put=visit.may(PUT, account.arn),
        may_tag=lambda arn: visit.may(TAG, arn),
        may_send=lambda arn: visit.may(SEND, arn),
        may_untag=lambda arn: visit.may(UNTAG, arn),
    )


def resources(account: LinkedAccount) -> dict[str, str]:
    """List what can be tagged: the account and its numbers, with their ARNs by their ids."""
    return {account.id: account.arn, **{number.id: number.arn for number in account.phone_numbers}}


async def account_of(visit: Visit, action: str) -> LinkedAccount:
    """Find the account that an address names. Raises PageError, and AccessDeniedException without the right."""
    arns = visit.console.arns
    id_ = arns.read_waba(visit.request.path_params["account"])
    if id_ is None:
        raise PageError("There is no such account.")
    visit.require(action, arns.arn(id_))
    account = await visit.console.registry.accounts.find(id_)
    if account is None:
        raise PageError("There is no such account, or not any more.")
    return account


async def _chosen(visit: Visit, text: str, trouble: str) -> Chosen:
    console = visit.console
    return Chosen(
        text=text,
        incomplete=trouble == "incomplete",
        low_quality=trouble == "quality",
        expires_before=datetime.now(UTC) + EXPIRES_SOON if trouble == "expiring" else None,
        ids=[*await parked(console.store, console.cipher, console.owner)] if trouble == "refused" else None,
    )


async def _total(visit: Visit, chosen: Chosen) -> int | None:
    """Count what is chosen; None for those who may not see all of it."""
    if not visit.may(VIEW_ACCOUNTS, visit.console.arns.arn("waba-*")):
        return None
    return await visit.console.registry.accounts.count(chosen)


async def _linked(visit: Visit, accounts: list[LinkedAccount]) -> list[Linked]:
    if not accounts:
        return []
    console, ids = visit.console, [each.id for each in accounts]
    refused = await parked(console.store, console.cipher, console.owner, ids)
    came = await arrivals(console.store, console.owner, ids)
    return [Linked(each, refused.get(each.id), came.get(each.id)) for each in accounts]


PAGES: Final = (
    Page(path="/accounts", action=VIEW_ACCOUNTS, answer=show_list, title="Accounts"),
    Page(path="/accounts/{account}", action=VIEW_ACCOUNTS, answer=show_one),
)
