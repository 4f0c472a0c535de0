"""Archive: where the files of messages are kept, what became of each, and what to do about those that failed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from whaul.console.events import FILE_STATES, State
from whaul.console.page import Page
from whaul.console.pages.accounts import account_of
from whaul.console.paging import place_of, query_of
from whaul.console.rendering import counted
from whaul.console.visit import PageError, Visit
from whaul.events.archive.archives import MAX_COUNTED, STATES, ArchiveStatus
from whaul.events.archive.backfill import Backfilled, backfill, fetch_again
from whaul.events.archive.listing import advice, list_files
from whaul.events.journal import find_file
from whaul.model import LinkedAccount
from whaul.operations.actions import FETCH_AGAIN, MANAGE_ARCHIVES, VIEW_ARCHIVES, VIEW_CONTENT, VIEW_MESSAGES
from whaul.setting_types import moment as moment_of

ROWS: Final = 50
MAX_NAME: Final = 200
"""Characters."""
WORDS: Final = {state: FILE_STATES[state].word for state in STATES}


async def show(visit: Visit) -> Response:
    """Show the archives, and the newest files."""
    account, choices = await _chosen(visit), await _choices(visit)
    archives, files = await _archives(visit, account), await _files(visit, account)
    kept = {linked.id for _, linked in archives["archives"]}
    shown = choices or [] if account is None else [account]
    return await visit.page(
        "archive.html",
        accounts=None if choices is None else [(each.id, each.name or each.meta_waba_id) for each in choices],
        without=[each for each in shown if each.id not in kept],
        **archives,
        **files,
    )


async def show_archives_now(visit: Visit) -> Response:
    """Show again how the archives stand."""
    return visit.fragment("archive_now.html", **await _archives(visit, await _chosen(visit)))


async def show_files_now(visit: Visit) -> Response:
    """Show again the newest files."""
    return visit.fragment("archive_files.html", **await _files(visit, await _chosen(visit)))


async def _choices(visit: Visit) -> Sequence[LinkedAccount] | None:
    """List the accounts to choose from; None if there are too many for a list."""
    page = await visit.console.registry.accounts.page(ROWS)
    return None if page.next_token else [each for each in page.accounts if visit.may(VIEW_ARCHIVES, each.arn)]


async def _chosen(visit: Visit) -> LinkedAccount | None:
    """Find the account that was chosen, if one was. Raises PageError."""
    name = visit.request.query_params.get("account", "").strip()[:MAX_NAME]
    account = await visit.console.registry.accounts.find(name) if name else None
    if name and (account is None or not visit.may(VIEW_ARCHIVES, account.arn)):
        raise PageError(f"There is no account {name}, or you may not see its files.", 400)
    return account


async def _ids(visit: Visit, account: LinkedAccount | None) -> Sequence[str] | None:
    return await visit.account_ids(VIEW_ARCHIVES) if account is None else [account.id]


async def _archives(visit: Visit, account: LinkedAccount | None) -> dict[str, Any]:
    console, after = visit.console, visit.request.query_params.get("after", "")[:MAX_NAME]
    found, more = await console.archives.page(ROWS, after, await _ids(visit, account))
    linked = {each.id: each for each in await console.registry.accounts.named([x.archive.account_id for x in found])}
    given = {} if account is None else {"account": account.id}
    return {
        "archives": [(each, linked[id_]) for each in found if (id_ := each.archive.account_id) in linked],
        "more": more and urlencode({**given, "after": more}),
        "archives_here": urlencode({**given, **({"after": after} if after else {})}),
        "states": [*WORDS.items()],
        "advice": advice,
        "most": MAX_COUNTED,
        "may_manage": lambda each: visit.may(MANAGE_ARCHIVES, each.arn),
    }


async def _files(visit: Visit, account: LinkedAccount | None) -> dict[str, Any]:
    query, console = visit.request.query_params, visit.console
    state, media_id = query.get("state", ""), query.get("media_id", "").strip()[:MAX_NAME]
    if state and state not in STATES:
        raise PageError(f"There is no state {state[:MAX_NAME]}.", 400)
    before = place_of(query.get("before", ""), 1)
    page = await list_files(
        console.store,
        console.cipher,
        console.owner,
        await _ids(visit, account),
        ROWS,
        before=None if before is None else before[0],
        state=state or None,
        media_id=media_id or None,
    )
    given = {"account": account.id if account else "", "state": state, "media_id": media_id}
    chosen = {name: value for name, value in given.items() if value}
    return {
        "files": page.files,
        "chosen": chosen,
        "state_of": lambda file: FILE_STATES.get(file.state, State(file.state, "plain")),
        "file_advice": advice,
        "may_see": lambda waba_id: visit.may_on_account(VIEW_MESSAGES, waba_id),
        "may_read": lambda waba_id: visit.may_on_account(VIEW_CONTENT, waba_id),
        "may_fetch": lambda waba_id: visit.may_on_account(FETCH_AGAIN, waba_id),
        "next": None if page.next is None else query_of(chosen, [page.next]),
        "newest": query_of(chosen) if before else None,
        "here": query_of(chosen, before or ()),
    }


async def fetch(visit: Visit) -> Response:
    """Fetch a file again."""
    console, form = visit.console, await visit.form()
    file = await find_file(console.store, console.cipher, console.owner, visit.request.path_params["file"])
    account = None if file is None else await console.registry.accounts.find(file.account_id)
    if file is None or account is None:
        raise PageError("There is no such file.")
    visit.require(FETCH_AGAIN, account.arn)
    begun = await fetch_again(console.store, console.owner, file.id)
    told = "The file is fetched again, as soon as a server runs." if begun else "There is nothing to fetch any more."
    return visit.back(f"/archive?{form.get('back', '')}", told)


async def ask(visit: Visit) -> Response:
    """Say how many files would be fetched."""
    account, status = await _archive(visit)
    since = visit.request.query_params.get("since", "7d").strip()
    moment = _moment(since)
    return await visit.page(
        "archive_backfill.html",
        account=account,
        archive=status.archive,
        since=since,
        pinned=moment.isoformat(),
        found=await _backfill(visit, account, status, moment, dry_run=True),
    )


async def begin(visit: Visit) -> Response:
    """Fetch what is not stored."""
    account, status = await _archive(visit)
    moment = _moment(str((await visit.form()).get("since", "")))
    found = await _backfill(visit, account, status, moment, dry_run=False)
    visit.details["files"] = found.queued
    told = f"{counted(found.queued, 'file')} queued, to be fetched as soon as a server runs."
    return visit.back("/archive", told + (" No more may wait: repeat it when these are stored." * found.is_full))


async def ask_off(visit: Visit) -> Response:
    """Say what it means to keep no more files."""
    account, status = await _archive(visit)
    waiting = status.counts["pending"] + status.counts["parked"]
    return await visit.page("archive_off.html", account=account, archive=status.archive, waiting=waiting)


async def off(visit: Visit) -> Response:
    """Keep no more files of an account."""
    account, _ = await _archive(visit)
    await visit.console.archives.off(account.id)
    return visit.back("/archive", "No more of its files are kept. Those that wait are still archived.")


async def _archive(visit: Visit) -> tuple[LinkedAccount, ArchiveStatus]:
    account = await account_of(visit, MANAGE_ARCHIVES)
    found = await visit.console.archives.all(account.id)
    if not found:
        raise PageError("This account has no archive. Set one: whaul archive set")
    return account, found[0]


async def _backfill(
    visit: Visit, account: LinkedAccount, status: ArchiveStatus, since: datetime, *, dry_run: bool
) -> Backfilled:
    console = visit.console
    return await backfill(
        console.store,
        console.cipher,
        console.owner,
        account,
        status,
        since=since,
        max_backlog=console.settings.max_backlog,
        extensions=console.settings.extensions,
        dry_run=dry_run,
    )


def _moment(text: str) -> datetime:
    try:
        return moment_of(text, datetime.now(UTC))
    except ValueError as error:
        raise PageError(f"since: {error}", 400) from None


PAGES: Final = (
    Page(path="/archive", action=VIEW_ARCHIVES, answer=show, title="Archive"),
    Page(path="/now/archive", action=VIEW_ARCHIVES, answer=show_archives_now, is_recorded=False),
    Page(path="/now/archive/files", action=VIEW_ARCHIVES, answer=show_files_now, is_recorded=False),
    Page(path="/archive/files/{file}/fetch", action=FETCH_AGAIN, answer=fetch, posts=True),
    Page(path="/archive/{account}/backfill", action=MANAGE_ARCHIVES, answer=ask),
    Page(path="/archive/{account}/backfill", action=MANAGE_ARCHIVES, answer=begin, posts=True),
    Page(path="/archive/{account}/off", action=MANAGE_ARCHIVES, answer=ask_off),
    Page(path="/archive/{account}/off", action=MANAGE_ARCHIVES, answer=off, posts=True),
)
