"""What is changed about accounts: linked with a token, asked about, sent elsewhere, tagged and unlinked."""

import re
from typing import Final

from pydantic import SecretStr
from starlette.datastructures import FormData
from starlette.responses import Response

from whaul.console.page import Page
from whaul.console.pages.accounts import LINK, MAX_TEXT, PUT, TAG, UNLINK, UNTAG, account_of, resources, show
from whaul.console.rendering import counted
from whaul.console.visit import PageError, Visit
from whaul.errors import ApiError
from whaul.events.receiving.unrouted import unrouted_of
from whaul.model import GraphToken, LinkedAccount
from whaul.operations.actions import VIEW_ACCOUNTS
from whaul.operations.refresh import refresh
from whaul.operations.waba import account_to_link
from whaul.secrets import secret_word

_WABA_ID: Final = re.compile(r"[0-9]{1,64}")


async def ask_to_link(visit: Visit) -> Response:
    """Ask for what an account is linked with."""
    visit.require(LINK)
    return await _asked(visit, visit.request.query_params.get("waba_id", "").strip()[:MAX_TEXT])


async def link(visit: Visit) -> Response:
    """Link an account, or give one another token."""
    visit.require(LINK)
    console, form = visit.console, await visit.form()
    console.operations.take(visit.caller)
    waba_id = _text(form, "waba_id")[:MAX_TEXT]
    try:
        token = _token(waba_id, form)
        linked = await console.registry.accounts.link(await account_to_link(console.graph, token, waba_id), token)
    except PageError as error:
        return await _asked(visit, waba_id, error.text)
    except ApiError as error:
        visit.error = error
        return await _asked(visit, waba_id, f"{error.code}: {error.message}")
    visit.resources.append(linked.arn)
    waited = await unrouted_of(console.store, console.owner, waba_id)
    came = f" {counted(waited, 'event')} of it came before; running servers route them now." if waited else ""
    told = f"Linked with {counted(len(linked.phone_numbers), 'phone number')}.{came}"
    return visit.back(f"/accounts/{linked.id}", told)


async def check(visit: Visit) -> Response:
    """Ask Meta about an account, and try where its webhooks go."""
    account, console = await account_of(visit, VIEW_ACCOUNTS), visit.console
    console.operations.take(visit.caller)
    target = await console.registry.accounts.linked_account(account.id)
    findings: list[str] = []
    try:
        await refresh(console.registry.accounts, console.graph, account)
        if target is not None:
            findings += (await (await console.subscriptions()).status(target, account)).problems
    except ApiError as error:
        findings.append(f"{error.code}: {error.message}")
    return await show(visit, await account_of(visit, VIEW_ACCOUNTS), findings)


async def put_destination(visit: Visit) -> Response:
    """Set where an account's events go, as the API does."""
    account, form = await account_of(visit, PUT), await visit.form()
    arn = _text(form, "arn") or _text(form, "known")
    destinations = [{"eventDestinationArn": arn}] if arn else []
    name = PUT.rpartition(":")[2]
    await visit.console.operations.do(visit.caller, name, {"id": account.id, "eventDestinations": destinations})
    told = f"Events go to {arn} from now on." if arn else "The API's destination has ended."
    return visit.back(_place(account), told)


async def tag(visit: Visit) -> Response:
    """Set a tag of an account or of one of its numbers."""
    account, arn, form = await _resource(visit, TAG)
    tags = [{"key": _text(form, "key"), "value": _text(form, "value")}]
    await visit.console.operations.do(visit.caller, "TagResource", {"resourceArn": arn, "tags": tags})
    return visit.back(f"{_place(account)}#tags", "The tag is set.")


async def untag(visit: Visit) -> Response:
    """Remove a tag."""
    account, arn, form = await _resource(visit, UNTAG)
    key = str(form.get("key", ""))
    await visit.console.operations.do(visit.caller, "UntagResource", {"resourceArn": arn, "tagKeys": [key]})
    return visit.back(f"{_place(account)}#tags", "The tag is removed.")


async def ask_to_unlink(visit: Visit) -> Response:
    """Say what is removed."""
    return await visit.page("account_unlink.html", account=await account_of(visit, UNLINK))


async def unlink(visit: Visit) -> Response:
    """Remove an account with its numbers and its token."""
    account = await account_of(visit, UNLINK)
    await visit.console.operations.do(visit.caller, UNLINK.rpartition(":")[2], {"id": account.id})
    return visit.back("/accounts", f"{account.name or account.meta_waba_id} is not linked any more.")


async def _asked(visit: Visit, waba_id: str, problem: str | None = None) -> Response:
    account = await visit.console.registry.accounts.find(waba_id) if _WABA_ID.fullmatch(waba_id) else None
    if account is not None and not visit.may(VIEW_ACCOUNTS, account.arn):
        account = None  # its name is not for everybody who may link
    return await visit.page(
        "account_link.html",
        status=200 if problem is None else 400,
        waba_id=waba_id,
        account=account,
        problem=problem,
    )


def _token(waba_id: str, form: FormData) -> GraphToken:
    if not _WABA_ID.fullmatch(waba_id):
        raise PageError("The id of the account has only digits, as Meta shows it.", 400)
    given = _text(form, "app_secret")
    return GraphToken(
        _word("The access token", _text(form, "token")), _word("The app secret", given) if given else None
    )


def _word(what: str, text: str) -> SecretStr:
    try:
        return SecretStr(secret_word(text))
    except ValueError as error:
        raise PageError(f"{what} {error}.", 400) from None


async def _resource(visit: Visit, action: str) -> tuple[LinkedAccount, str, FormData]:
    """Find what is tagged: its account, its ARN. The visitor must see the account to come here."""
    account, form = await account_of(visit, VIEW_ACCOUNTS), await visit.form()
    arn = resources(account).get(_text(form, "resource"))
    if arn is None:
        raise PageError("There is no such number of this account.")
    visit.require(action, arn)
    return account, arn, form


def _text(form: FormData, name: str) -> str:
    return str(form.get(name, "")).strip()


def _place(account: LinkedAccount) -> str:
    return f"/accounts/{account.id}"


PAGES: Final = (
    Page(path="/accounts/link", action=LINK, answer=ask_to_link),
    Page(path="/accounts/link", action=LINK, answer=link, posts=True),
    Page(path="/accounts/{account}/check", action=VIEW_ACCOUNTS, answer=check, posts=True),
    Page(path="/accounts/{account}/destinations", action=PUT, answer=put_destination, posts=True),
    Page(path="/accounts/{account}/tag", action=TAG, answer=tag, posts=True),
    Page(path="/accounts/{account}/untag", action=UNTAG, answer=untag, posts=True),
    Page(path="/accounts/{account}/unlink", action=UNLINK, answer=ask_to_unlink),
    Page(path="/accounts/{account}/unlink", action=UNLINK, answer=unlink, posts=True),
)
