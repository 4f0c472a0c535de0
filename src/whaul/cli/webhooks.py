"""`whaul webhooks`: where Meta sends the webhooks of linked accounts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandError
from whaul.cli.inbound import AccountName, Inbound, OneOrAll, Yes, opened

if TYPE_CHECKING:
    from pydantic import SecretStr

    from whaul.events.receiving.subscriptions import Status, Subscriptions
    from whaul.events.receiving.verify_tokens import VerifyTokens
    from whaul.model import Account, LinkedAccount
    from whaul.settings import Settings

T = TypeVar("T")

app = typer.Typer(help="Where Meta sends webhooks.", no_args_is_help=True, add_completion=False)


@app.command()
def subscribe(
    account: AccountName,
    *,
    url: Annotated[
        str, typer.Option(help="Where the server is reached from the internet, such as https://hooks.example.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace other webhook URLs: the account's, and the app's own.")
    ] = False,
    json: Json = False,
) -> None:
    """Have Meta send an account's webhooks to this server. The server must be running, and reached at the URL.

    Examples:
        whaul webhooks subscribe 400000000000001 --url https://hooks.example
        whaul webhooks subscribe 400000000000001 --url https://hooks.example/webhooks/meta --force
    """

    async def do(subscriptions: "Subscriptions", found: "Account", linked: "LinkedAccount") -> str:
        app_id = subscriptions.app_of(linked)
        if app_id is None:
            raise CommandError(
                f"Meta's id of the app is not known for {linked.id}; link the account again, so that Meta is asked: "
                f"whaul link --waba-id {linked.meta_waba_id} --token-file FILE --app-secret-file FILE"
            )
        return await subscriptions.subscribe(found, app_id, url, force=force)

    callback = _with_account(account, do)
    if json:
        output.document({"url": callback})
        return
    output.line(f"Meta sends the webhooks of {account} to {callback}.")
    output.line(f"`whaul webhooks status {account}` looks whether all of them come.")


@app.command()
def unsubscribe(account: AccountName, yes: Yes = False, json: Json = False) -> None:
    """Have Meta send no webhooks of an account any more.

    Examples:
        whaul webhooks unsubscribe 400000000000001
    """
    question = f"Stop the webhooks of {account}? What its customers write is lost from then on."
    if not yes and not output.confirms(question, aside=json):
        raise CommandError("nothing was changed")

    async def do(subscriptions: "Subscriptions", found: "Account", linked: "LinkedAccount") -> str:
        await subscriptions.unsubscribe(found)
        return linked.id

    account_id = _with_account(account, do)
    if json:
        output.document({"accountId": account_id, "subscribed": False})
    else:
        output.line(f"Meta sends no webhooks of {account} any more.")


@app.command()
def status(account: OneOrAll = None, json: Json = False) -> None:
    """Look where the webhooks of accounts go, and whether they arrive. Exit code 1 if something is wrong.

    Examples:
        whaul webhooks status
    """
    from whaul.settings import Settings

    found = asyncio.run(_status(Settings.load(), account))
    if json:
        output.document({"accounts": [_document(one) for one in found]}, must_be_read=True)
    elif not found:
        output.line("No account is linked. `whaul link --waba-id ID --token-file FILE` links one.")
    for one in () if json else found:
        _show(one)
    if any(one.problems for one in found):
        raise typer.Exit(1)


@app.command()
def token(
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make another one; the one before is taken for 7 days more.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the verify token, for Meta's App Dashboard. `subscribe` gives it to Meta by itself.

    Examples:
        whaul webhooks token
    """
    from whaul.settings import Settings

    secret = asyncio.run(_token(Settings.load(), rotate)).get_secret_value()
    if json:
        output.document({"verifyToken": secret}, must_be_read=True)
    else:
        output.line(secret, must_be_read=True)


def _with_account(name: str, do: "Callable[[Subscriptions, Account, LinkedAccount], Awaitable[T]]") -> T:
    """Do something about one linked account."""
    from whaul.events.receiving.subscriptions import SubscriptionError
    from whaul.settings import Settings

    settings = Settings.load()

    async def run() -> T:
        async with _parts(settings) as (inbound, subscriptions):
            linked = await inbound.account(name)
            found = await inbound.registry.accounts.linked_account(linked.id)
            if found is None:
                raise CommandError(f"{name} has been unlinked in the meantime")
            try:
                return await do(subscriptions, found, linked)
            except SubscriptionError as error:
                raise CommandError(str(error)) from None

    return asyncio.run(run())


async def _status(settings: "Settings", name: str | None) -> "list[Status]":
    async with _parts(settings) as (inbound, subscriptions):
        found = []
        async for linked in _chosen(inbound, name):
            account = await inbound.registry.accounts.linked_account(linked.id)
            if account is not None:
                found.append(await subscriptions.status(account, linked))
        return found


async def _chosen(inbound: Inbound, name: str | None) -> "AsyncIterator[LinkedAccount]":
    if name is not None:
        yield await inbound.account(name)
        return
    async for linked in inbound.registry.accounts.each():
        yield linked


async def _token(settings: "Settings", rotate: bool) -> "SecretStr":
    async with opened(settings) as inbound:
        tokens = _tokens(inbound)
        return await tokens.rotate() if rotate else await tokens.current()


@asynccontextmanager
async def _parts(settings: "Settings") -> "AsyncIterator[tuple[Inbound, Subscriptions]]":
    from whaul.components import graph_client, http_client
    from whaul.events.receiving.subscriptions import Subscriptions

    async with opened(settings) as inbound, http_client(settings) as http:
        token = await _tokens(inbound).current()
        yield inbound, Subscriptions(graph_client(settings, http), http, token, settings.app_secrets)


def _tokens(inbound: Inbound) -> "VerifyTokens":
    from whaul.events.receiving.verify_tokens import VerifyTokens

    return VerifyTokens(inbound.store, inbound.cipher, inbound.owner)


def _document(one: "Status") -> dict[str, object]:
    return {
        "accountId": one.account_id,
        "appId": one.app_id,
        "subscribed": one.subscribed,
        "effectiveUrl": one.effective_url,
        "level": one.level,
        "ours": one.ours,
        "reachable": one.reachable,
        "problems": list(one.problems),
    }


def _show(one: "Status") -> None:
    places = {"number": "the phone number's setting", "waba": "the account's setting", "app": "the app's setting"}
    where = f"{one.effective_url} (by {places[one.level]})" if one.effective_url else "nowhere"
    verdict = "" if one.problems else ": it is this server, and it takes them"
    output.line(f"{one.account_id}  webhooks of messages go to {where}{verdict}")
    for problem in one.problems:
        output.line(f"  ! {problem}")
