"""Send: a message from one of the numbers, looked at as JSON first."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

from starlette.datastructures import UploadFile
from starlette.responses import Response

from whaul.console.drafts import KINDS, MEDIA, WITH_CAPTION, DraftError, Template, message
from whaul.console.page import Page
from whaul.console.uploads import parts_of
from whaul.console.visit import PageError, Visit
from whaul.errors import ApiError
from whaul.events.database.columns import microseconds
from whaul.events.selecting import Selection
from whaul.model import LinkedAccount, LinkedPhoneNumber
from whaul.operations.actions import VIEW_CONTENT, VIEW_MESSAGES, action_of
from whaul.operations.media import post_content
from whaul.registry.choosing import Chosen

SENDING: Final = "SendWhatsAppMessage"
LISTING: Final = "ListWhatsAppMessageTemplates"
READING: Final = "GetWhatsAppMessageTemplate"
SEND: Final = action_of(SENDING)
POST: Final = action_of("PostWhatsAppMessageMedia")
MAX_NUMBERS: Final = 100
"""Numbers to choose from; of more, some are found by a text."""
MAX_LOOKED_AT: Final = 1000
"""Accounts that are looked through for numbers that the visitor may send from."""
MAX_TEXT: Final = 200
"""Characters."""
MAX_FORM: Final = 256 * 1024
"""Bytes: for JSON with a flow's data."""
MAX_FILE: Final = 16 * 1024 * 1024
"""Bytes of a file that is uploaded; larger ones go to Meta by link, or by the operation."""
WINDOW: Final = timedelta(hours=24)
"""How long after a customer's message anything may be sent to them."""


@dataclass(slots=True)
class Composed:
    """What is being written."""

    account: LinkedAccount
    number: LinkedPhoneNumber
    kind: str
    given: Mapping[str, str] = field(default_factory=dict)
    template: Template | None = None

    @property
    def command(self) -> str:
        """What sends any message from the number."""
        start = f"aws socialmessaging send-whatsapp-message --origination-phone-number-id {self.number.id}"
        return f"{start} --cli-binary-format raw-in-base64-out"


async def compose(visit: Visit) -> Response:
    """Ask for a number and a kind, then for what the kind needs."""
    query = visit.request.query_params
    text, kind = query.get("find", "").strip()[:MAX_TEXT], query.get("kind") or "text"
    numbers, is_whole = await _numbers(visit, text)
    wanted = query.get("number") or (numbers[0][1].id if len(numbers) == 1 and is_whole else "")
    if wanted:
        composed = await _composed(visit, wanted, kind)
    elif (last := None if text else await _last(visit, kind)) is not None:
        composed = last
    else:
        return await _page(visit, numbers=numbers, is_whole=is_whole)
    composed.given = {"media": query.get("media", "")[:MAX_TEXT]}
    templates, problem, next_ = await _templates(visit, composed) if composed.kind == "template" else ([], None, None)
    if composed.kind == "template" and (id_ := query.get("template")):
        composed.template, problem = await _template(visit, composed, id_)
    sent = visit.console.sent.get(f"{visit.session} {query.get('sent', '')}")
    return await _page(
        visit,
        composed,
        numbers=numbers,
        is_whole=is_whole,
        templates=templates,
        more=next_ and urlencode({"number": composed.number.id, "kind": "template", "after": next_}),
        problem=problem,
        sent=sent,
        may_follow=visit.may(VIEW_CONTENT, composed.account.arn) and visit.may(VIEW_MESSAGES, composed.account.arn),
    )


async def send(visit: Visit) -> Response:
    """Show what would go to Meta, or send it."""
    form = {name: value for name, value in (await visit.form()).items() if isinstance(value, str)}
    composed = await _composed(visit, form.get("number", ""), form.get("kind", ""))
    composed.given = form
    try:
        if composed.kind == "template":
            composed.template, problem = await _template(visit, composed, form.get("template", ""))
            if problem is not None:
                return await _page(visit, composed, problem=problem, status=400)
        draft = message(composed.kind, form, composed.template)
    except DraftError as error:
        return await _page(visit, composed, problem=str(error), status=400)
    body = json.dumps(draft, ensure_ascii=False, indent=2)
    if form.get("do") != "send":
        return await _page(visit, composed, preview=body, window=await _window(visit, composed, draft))
    call, version = form.get("call", ""), visit.console.settings.graph_version
    members = {
        "originationPhoneNumberId": composed.number.id,
        "message": json.dumps(draft, ensure_ascii=False).encode(errors="surrogatepass"),
        "metaApiVersion": version,
    }
    try:
        sent = await visit.console.operations.do(visit.caller, SENDING, members, call)
    except ApiError as error:
        visit.error = error
        problem = f"{error.code}: {error.message}"
        return await _page(visit, composed, preview=body, problem=problem, status=400)
    # Not in the address: the id tells who got the message.
    visit.console.sent[f"{visit.session} {call}"] = sent.get("messageId", "")
    again = {"number": composed.number.id, "kind": composed.kind, "sent": call}
    return visit.back(f"/send?{urlencode(again)}", "Meta took the message.")


async def upload(visit: Visit) -> Response:
    """Give Meta a file, and go back to the form with its id."""
    form = await visit.form()
    composed = await _composed(visit, str(form.get("number", "")), str(form.get("kind", "")))
    visit.require(POST, composed.number.arn)
    file, console = form.get("file"), visit.console
    number = await console.registry.accounts.phone_number(composed.number.id)
    if not isinstance(file, UploadFile) or not file.filename or number is None:
        return await _page(visit, composed, problem="Choose a file.", status=400)
    console.operations.take(visit.caller)
    try:
        media_id = await post_content(
            console.operations.components, number, file.content_type or "", file.size or 0, partial(parts_of, file)
        )
    except ApiError as error:
        visit.error = error
        return await _page(visit, composed, problem=f"{error.code}: {error.message}", status=400)
    visit.details["mediaId"] = media_id
    again = {"number": number.id, "kind": composed.kind, "media": media_id}
    return visit.back(f"/send?{urlencode(again)}", "Meta has the file, for 30 days. Now write to whom it goes.")


async def _page(
    visit: Visit,
    composed: Composed | None = None,
    *,
    numbers: Sequence[tuple[LinkedAccount, LinkedPhoneNumber]] = (),
    is_whole: bool = True,
    templates: Sequence[Mapping[str, Any]] = (),
    more: str | None = None,
    problem: str | None = None,
    preview: str | None = None,
    window: str | None = None,
    sent: str | None = None,
    may_follow: bool = False,
    status: int = 200,
) -> Response:
    if numbers and composed and all(number.id != composed.number.id for _, number in numbers):
        numbers = [*numbers, (composed.account, composed.number)]  # of too many to list, the one that is written from
    command = None if composed is None else composed.command
    if command is not None:
        what = "'{…}'" if preview is None else shlex.quote(json.dumps(json.loads(preview), ensure_ascii=False))
        command = f"{command} --meta-api-version {visit.console.settings.graph_version} --message {what}"
    return await visit.page(
        "send.html",
        status=status,
        composed=composed,
        given={} if composed is None else composed.given,
        # A form has one call of its own, so that it is sent once, until the call has failed.
        call=(composed.given.get("call") if composed and problem is None else None) or str(uuid4()),
        numbers=[
            (number.id, f"{number.display_phone_number or number.meta_id}, {account.name or account.meta_waba_id}")
            for account, number in numbers
        ],
        find=visit.request.query_params.get("find", "")[:MAX_TEXT],
        is_whole=is_whole,
        kinds=[*KINDS.items()],
        media=MEDIA,
        with_caption=WITH_CAPTION,
        may_upload=composed is not None and visit.may(POST, composed.number.arn),
        templates=templates,
        more=more,
        problem=problem,
        preview=preview,
        window=window,
        sent=sent,
        may_follow=may_follow,
        command=command,
        is_linked=bool(numbers) or await visit.console.registry.accounts.count() > 0,
    )


async def _numbers(visit: Visit, text: str) -> tuple[list[tuple[LinkedAccount, LinkedPhoneNumber]], bool]:
    """List numbers that the visitor may send from, and whether those are all."""
    found: list[tuple[LinkedAccount, LinkedPhoneNumber]] = []
    token, looked_at = None, 0
    while looked_at < MAX_LOOKED_AT and len(found) < MAX_NUMBERS:
        page = await visit.console.registry.accounts.page(MAX_NUMBERS, token, Chosen(text=text))
        found += [(each, number) for each in page.accounts for number in each.phone_numbers if _may(visit, number)]
        token, looked_at = page.next_token, looked_at + len(page.accounts)
        if token is None:
            break
    return found[:MAX_NUMBERS], token is None and len(found) <= MAX_NUMBERS and not text


def _may(visit: Visit, number: LinkedPhoneNumber) -> bool:
    return visit.may(SEND, number.arn)


async def _last(visit: Visit, kind: str) -> Composed | None:
    """Begin with the number that the session had last, if it can still be sent from."""
    id_ = visit.console.last_numbers.get(visit.session)
    if id_ is None or not visit.may(SEND, visit.console.arns.arn(id_)):
        return None
    return await _found(visit, id_, kind)


async def _composed(visit: Visit, number: str, kind: str) -> Composed:
    arns = visit.console.arns
    id_ = arns.read_phone_number(number)
    if id_ is None:
        raise PageError("There is no such number.")
    visit.require(SEND, arns.arn(id_))
    found = await _found(visit, id_, kind)
    if found is None:
        raise PageError("There is no such number, or not any more.")
    visit.console.last_numbers[visit.session] = id_
    return found


async def _found(visit: Visit, id_: str, kind: str) -> Composed | None:
    if kind not in KINDS:
        raise PageError("There is no such kind of message.", 400)
    account = await visit.console.registry.accounts.with_phone_number(id_)
    number = next((each for each in account.phone_numbers if each.id == id_), None) if account else None
    return None if account is None or number is None else Composed(account, number, kind)


async def _templates(visit: Visit, composed: Composed) -> tuple[Sequence[Mapping[str, Any]], str | None, str | None]:
    """List approved templates of the account: some, what keeps them away, and where the next page goes on."""
    members = {"id": composed.account.id, "maxResults": 100, "nextToken": visit.request.query_params.get("after")}
    try:
        found = await visit.console.operations.do(visit.caller, LISTING, members)
    except ApiError as error:
        return [], f"{error.code}: {error.message}", None
    approved = [each for each in found.get("templates", ()) if each.get("templateStatus") == "APPROVED"]
    return approved, None, found.get("nextToken")


async def _template(visit: Visit, composed: Composed, id_: str) -> tuple[Template | None, str | None]:
    if not id_:
        return None, "Choose a template."
    members = {"id": composed.account.id, "metaTemplateId": id_}
    try:
        found = await visit.console.operations.do(visit.caller, READING, members)
    except ApiError as error:
        visit.error = error
        return None, f"{error.code}: {error.message}"
    return Template(json.loads(found["template"])), None


async def _window(visit: Visit, composed: Composed, draft: Mapping[str, Any]) -> str | None:
    """Say whether the recipient wrote within 24 hours; None if the visitor may not know, or no window is needed."""
    account, console, to = composed.account, visit.console, draft.get("to")
    if not isinstance(to, str) or not (visit.may(VIEW_MESSAGES, account.arn) and visit.may(VIEW_CONTENT, account.arn)):
        return None
    await console.people.load()
    selection = Selection(
        account_ids=(account.id,),
        party=console.people.named(to),
        kind="message",
        meta_phone_number_id=composed.number.meta_id,
        since=microseconds(datetime.now(UTC) - WINDOW),
    )
    found = (await console.journal.page(selection, 1)).events
    if found:
        return "open"
    return None if draft.get("type") == "template" else "closed"


PAGES: Final = (
    Page(path="/send", action=SEND, answer=compose, title="Send"),
    Page(path="/send", action=SEND, answer=send, posts=True, max_body=MAX_FORM),
    Page(path="/send/file", action=POST, answer=upload, posts=True, max_body=MAX_FILE + MAX_FORM),
)
