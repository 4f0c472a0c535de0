"""Messages: what came, live, and each one's way through archive and deliveries."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final, NamedTuple

from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from whaul.console import events
from whaul.console.content import summary
from whaul.console.events import FILE_STATES, OUTCOMES, EventRows
from whaul.console.filters import KINDS, STATES, Filters, numbers_of
from whaul.console.page import Page
from whaul.console.recent import ROWS
from whaul.console.visit import PageError, Visit
from whaul.events.archive.backfill import fetch_again
from whaul.events.envelope import Envelopes, meta
from whaul.events.journal import AttemptRecord, EventRecord, FileRecord, find_file
from whaul.events.selecting import Selection
from whaul.model import S3File
from whaul.operations.actions import (
    FETCH_AGAIN,
    REPLAY_DELIVERY,
    VIEW_ACCOUNTS,
    VIEW_CONTENT,
    VIEW_DELIVERIES,
    VIEW_MESSAGES,
)
from whaul.secrets import SecretKeyError

SHOWN: Final = frozenset({"image/jpeg", "image/png", "image/webp"})
"""What a browser shows in the page; it decodes nothing else."""
PLAYED: Final = frozenset(
    {"audio/aac", "audio/amr", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/opus", "video/3gpp", "video/mp4"}
)
MAX_ACCOUNTS: Final = 100
"""Whose numbers are listed; of more, a number is typed."""
PART: Final = 64 * 1024
STREAM: Final = "text/event-stream"


class Step(NamedTuple):
    """A step on a message's way."""

    at: datetime | None
    """None for what has not happened yet."""
    title: str
    mood: str
    detail: str = ""
    took: float | None = None
    """Seconds."""
    more: str | None = None
    """Where the documentation says more."""
    destination: str | None = None
    """Where it happened, if it is a delivery."""


async def show_list(visit: Visit) -> Response:
    """Show the newest messages that fit, or those before another one."""
    filters = Filters.of(visit.request.query_params)
    before = visit.request.query_params.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise PageError("This address is not whole: begin with the first page.", 400)
    selection = await filters.seen(visit)
    page = await visit.console.journal.page(selection, ROWS, int(before) if before else None)
    rows = await EventRows(visit).of(page.events)
    return await visit.page(
        "messages.html",
        rows=rows,
        filters=filters,
        kinds=KINDS,
        states=STATES,
        numbers=await _numbers(visit),
        destinations=await visit.destinations(VIEW_DELIVERIES),
        next=None if page.next is None else filters.query(before=page.next),
        newest=filters.query() if before else None,
        live=None if before or filters.until else f"/messages/live?{filters.query()}",
        is_linked=await visit.console.registry.accounts.count() > 0,
        may_read=visit.may_somewhere(VIEW_CONTENT),
    )


async def show_live(visit: Visit) -> Response:
    """Send the rows of the newest messages as they come and change."""
    recent = visit.console.recent
    if visit.request.method == "HEAD":
        return Response(media_type=STREAM)
    if not recent.has_room(visit.session):
        raise PageError("Too many lists are live at the moment. Close some.", 503)
    selection = await Filters.of(visit.request.query_params).seen(visit)
    rows = EventRows(visit)
    return StreamingResponse(events.stream(visit, recent, rows, selection), media_type=STREAM)


async def show_one(visit: Visit) -> Response:
    """Show a message with all that became of it."""
    event = await _event(visit)
    console = visit.console
    attempts = await console.journal.attempts(event.seq)
    may_read = visit.may_on_account(VIEW_CONTENT, event.waba_id)
    content, unreadable = None, None
    if may_read:
        try:
            content = await console.journal.event(event.seq)
        except SecretKeyError as error:
            unreadable = str(error)
    visit.details["content"] = content is not None
    row = (await EventRows(visit).of([event]))[0]
    account = None if event.account_id is None else await console.registry.accounts.find(event.account_id)
    steps = timeline(event, attempts)
    return await visit.page(
        "message.html",
        event=event,
        row=row,
        says=None if content is None else summary(content.entry),
        account=account if account and visit.may(VIEW_ACCOUNTS, account.arn) else None,
        steps=steps,
        seen=[
            each.destination
            for each in steps
            if each.destination and visit.may(VIEW_DELIVERIES, console.arns.event_destination(each.destination))
        ],
        file_states=FILE_STATES,
        files=[(file, _shown_as(file)) for file in event.files],
        unreadable=unreadable,
        may_read=may_read,
        may_fetch=visit.may_on_account(FETCH_AGAIN, event.waba_id),
        webhook=None if content is None or content.kind == "unparsed" else meta(content),
        envelope=None if content is None else Envelopes(console.arns).aws(content),
        destinations=[
            each.name
            for each in await console.destinations.all()
            if event.account_id in each.account_ids
            and visit.may(REPLAY_DELIVERY, console.arns.event_destination(each.name))
        ],
        phone_number_id=event.meta_phone_number_id
        and event.account_id
        and console.arns.phone_number_id(event.meta_phone_number_id),
    )


async def replay(visit: Visit) -> Response:
    """Send a message to a destination once more."""
    event = await _event(visit)
    console, form = visit.console, await visit.form()
    name = str(form.get("destination", ""))
    visit.require(REPLAY_DELIVERY, console.arns.event_destination(name))
    destination = await console.destinations.find(name)
    if destination is None:
        raise PageError(f"There is no destination {name}.")
    selection = Selection(seqs=(event.seq,))
    matched = await console.replays.match(selection, destination)
    here = f"/messages/{event.message_id}"
    if not matched.events:
        return visit.back(here, f"{name} does not want this event: its filters leave it out.")
    if not matched.new:
        return visit.back(here, f"This event waits for {name} already.")
    visit.details["job"] = await console.replays.start(selection, destination, matched)
    return visit.back(here, f"Sent to {name} once more, as soon as a server runs.")


async def fetch(visit: Visit) -> Response:
    """Fetch a message's file again."""
    event = await _event(visit)
    visit.require_on_account(FETCH_AGAIN, event.waba_id)
    wanted = str((await visit.form()).get("file", ""))
    if wanted not in {file.id for file in event.files}:
        raise PageError("This message has no such file.")
    begun = await fetch_again(visit.console.store, visit.console.owner, wanted)
    told = "The file is fetched again, as soon as a server runs." if begun else "There is nothing to fetch any more."
    return visit.back(f"/messages/{event.message_id}", told)


async def show_file(visit: Visit) -> Response:
    """Send a file of a message, in a way in which it can do nothing."""
    console = visit.console
    file = await find_file(console.store, console.cipher, console.owner, visit.request.path_params["file"])
    account = None if file is None else await console.registry.accounts.find(file.account_id)
    if file is None or account is None or file.state != "stored":
        raise PageError("There is no such file.")
    visit.require(VIEW_CONTENT, account.arn)
    type_ = _shown_as(file)
    stack = AsyncExitStack()
    found = await stack.enter_async_context(console.s3.open(S3File(file.bucket, file.key)))

    async def parts() -> AsyncIterator[bytes]:
        async with stack:
            while part := await found.download.read(PART):
                yield bytes(part)

    headers = {
        "content-length": str(found.size),
        "content-security-policy": "sandbox",
        "content-disposition": "inline" if type_ else f'attachment; filename="{file.media_id}"',
    }
    # Of a browser that is gone before the first part, the background task closes the file.
    closing = BackgroundTask(stack.aclose)
    return StreamingResponse(parts(), 200, headers, type_ or "application/octet-stream", closing)


async def _numbers(visit: Visit) -> list[tuple[str, str]] | None:
    """List the numbers to choose from; None if there are too many for a list."""
    page = await visit.console.registry.accounts.page(MAX_ACCOUNTS)
    return None if page.next_token is not None else numbers_of(visit, page.accounts)


async def _event(visit: Visit) -> EventRecord:
    event = await visit.console.journal.find(visit.request.path_params["id"])
    if event is None:
        raise PageError("There is no such message, or it is not kept any more.")
    visit.require_on_account(VIEW_MESSAGES, event.waba_id)
    return event


def timeline(event: EventRecord, attempts: list[AttemptRecord]) -> list[Step]:
    """Put a message's steps in order; what has not happened yet comes last."""
    steps = []
    if event.sent_at is not None:
        steps.append(Step(event.sent_at, "Sent, by Meta's clock", "plain"))
    lag = None if event.sent_at is None else max(0.0, (event.received_at - event.sent_at).total_seconds())
    steps.append(Step(event.received_at, "Received and kept", "good", took=lag))
    if event.state != "routed":
        steps.append(_UNUSED[event.state])
    for file in event.files:
        steps += _of_file(file)
    for attempt in attempts:
        mood = "good" if attempt.outcome == "delivered" else "bad"
        title = OUTCOMES.get(attempt.outcome, attempt.outcome)
        more = None if mood == "good" else "/docs/events#see-what-happened"
        steps.append(Step(attempt.at, title, mood, attempt.detail, attempt.seconds, more, attempt.destination))
    for each in event.deliveries:
        if each.state != "delivered":
            tried = f"{each.attempts} attempt{'' if each.attempts == 1 else 's'}"
            mood = "bad" if each.state == "dead" else "wait"
            title = f"{'given up' if each.state == 'dead' else each.state}, {tried}"
            more = _TROUBLE if mood == "bad" else None
            steps.append(Step(None, title, mood, each.last_error or "", None, more, each.destination))
    return sorted(steps, key=lambda step: (step.at is None, step.at or event.received_at))


_TROUBLE: Final = "/docs/events#when-a-destination-has-trouble"
_UNUSED: Final = {
    "unrouted": Step(
        None,
        "Not routed",
        "bad",
        "No account is linked for it, or its app may not speak for the account. `whaul doctor` says more.",
        more="/docs/receive#when-nothing-arrives",
    ),
    "unparsed": Step(
        None,
        "Not understood",
        "bad",
        "It is kept as it came. `whaul events reparse` reads it again, with a newer version.",
        more="/docs/events#what-could-not-be-parsed",
    ),
}


def _of_file(file: FileRecord) -> list[Step]:
    word, mood = FILE_STATES[file.state]
    tried = f", {file.attempts} attempts" if file.attempts > 1 else ""
    title, told = f"File {word}{tried}", file.last_error or ""
    more = "/docs/archive#when-files-fail" if told else None
    if file.done_at is None:
        return [Step(file.created_at, title, mood, told, more=more)]
    took = (file.done_at - file.created_at).total_seconds()
    return [Step(file.done_at, title, mood, told, took, more)]


def _shown_as(file: FileRecord) -> str | None:
    """Name the type that a file is sent with, if the page may show it."""
    type_ = file.mime_type.partition(";")[0].strip().lower()
    return type_ if type_ in SHOWN | PLAYED else None


PAGES: Final = (
    Page(path="/messages", action=VIEW_MESSAGES, answer=show_list, title="Messages"),
    Page(path="/messages/live", action=VIEW_MESSAGES, answer=show_live, is_recorded=False),
    Page(path="/messages/{id}", action=VIEW_MESSAGES, answer=show_one),
    Page(path="/messages/{id}/replay", action=REPLAY_DELIVERY, answer=replay, posts=True),
    Page(path="/messages/{id}/fetch", action=FETCH_AGAIN, answer=fetch, posts=True),
    Page(path="/media/{file}", action=VIEW_CONTENT, answer=show_file),
)
