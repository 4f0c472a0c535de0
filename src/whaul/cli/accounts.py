"""`whaul link`, `whaul accounts` and `whaul unlink`."""

import asyncio
import re
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from whaul.cli import output
from whaul.cli.failures import CommandError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from whaul.model import GraphToken, LinkedAccount, MetaAccount
    from whaul.settings import Settings

TOKEN_VARIABLE = "WHATSAPP_ACCESS_TOKEN"  # noqa: S105 - a variable's name

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def link(
    *,
    waba_id: Annotated[str, typer.Option(help="Meta's id of the WhatsApp Business Account.")],
    token_file: Annotated[
        str | None,
        typer.Option(help=f"File with the access token; - for standard input. Default: ${TOKEN_VARIABLE}."),
    ] = None,
    app_secret_file: Annotated[
        str | None,
        typer.Option(help="File with the app secret: webhooks need it, and apps that require appsecret_proof."),
    ] = None,
    verify: Annotated[bool, typer.Option(help="Ask Meta for the account and its numbers.")] = True,
    name: Annotated[str | None, typer.Option(help="With --no-verify: the account's name.")] = None,
    phone_number: Annotated[
        list[str] | None, typer.Option(help="With --no-verify: META_ID=+15550100; repeat for each number.")
    ] = None,
    json: Json = False,
) -> None:
    """Link a WhatsApp Business Account: check its token with Meta, store it with its phone numbers.

    Examples:
        whaul link --waba-id 400000000000001 --token-file token.txt
        pass show whatsapp | whaul link --waba-id 400000000000001 --token-file -
    """
    from whaul.model import GraphToken, MetaAccount, MetaPhoneNumber
    from whaul.operations.shapes import linked_account
    from whaul.settings import Settings

    if not re.fullmatch(r"\d{1,64}", waba_id):
        raise typer.BadParameter("expected digits, as Meta shows it", param_hint="--waba-id")
    if verify and (name or phone_number):
        raise typer.BadParameter("--name and --phone-number go with --no-verify")
    if not verify and not (name and phone_number):
        raise typer.BadParameter("--no-verify needs --name and at least one --phone-number")
    unverified = None
    if name is not None:
        numbers = tuple(MetaPhoneNumber(*_number(text), "", status="UNKNOWN") for text in phone_number or ())
        unverified = MetaAccount(waba_id, name, numbers)
    app_secret = secret_from("--app-secret-file", app_secret_file) if app_secret_file else None
    token = GraphToken(_token(token_file), app_secret)
    account, waited = asyncio.run(_link(Settings.load(), waba_id, token, unverified))
    if json:
        output.document({"account": linked_account(account)})
    else:
        _show(account)
        comes = f"`whaul webhooks subscribe {waba_id} --url URL` has its messages come in; "
        key = "`whaul keys create --name NAME --allow-all` makes a key for your program."
        output.tell(f"Linked. Next: {comes if account.has_app_secret else ''}{key}")
    if waited:
        came = "1 event of it came" if waited == 1 else f"{waited} events of it came"
        again = f"`whaul events replay --account {waba_id} --to NAME`"
        output.tell(f"{came} before; running servers route them now. {again} sends them to a destination made later.")


async def _link(
    settings: "Settings", waba_id: str, token: "GraphToken", unverified: "MetaAccount | None"
) -> "tuple[LinkedAccount, int]":
    """Link it; return it, and how many of its events came before."""
    from whaul.components import event_store, graph_client, http_client, open_registry
    from whaul.errors import DependencyException
    from whaul.events.receiving.unrouted import unrouted_of
    from whaul.operations.waba import account_to_link
    from whaul.outbound.errors import HttpError

    account = unverified
    if account is None:
        async with http_client(settings) as http:
            graph = graph_client(settings, http)
            try:
                account = await account_to_link(graph, token, waba_id)
            except DependencyException as error:
                if not isinstance(error.__cause__, HttpError):
                    raise
                host = urlsplit(settings.graph_url).netloc.rpartition("@")[2]
                advice = "check the network, HTTPS_PROXY and WHAUL_GRAPH_URL, or link without asking: --no-verify"
                raise CommandError(f"{error.message} The host is {host}; {advice}") from error
    async with open_registry(settings) as registry, event_store(settings) as store:
        waited = await unrouted_of(store, settings.account_id, waba_id)
        return await registry.accounts.link(account, token, verified=unverified is None), waited


def list_accounts(json: Json = False) -> None:
    """List the linked accounts and their phone numbers."""
    from whaul.settings import Settings

    asyncio.run(_list(Settings.load(), json=json))


async def _list(settings: "Settings", *, json: bool) -> None:
    from whaul.components import open_registry
    from whaul.operations.shapes import linked_account

    shapes, expiries, is_empty = [], {}, True
    async with open_registry(settings) as registry:
        async for account in registry.accounts.each():
            is_empty = False
            if not json:
                _show(account)
                continue
            shapes.append(linked_account(account))
            if account.token_expires_at:
                expiries[account.id] = account.token_expires_at.isoformat()
    if json:
        output.document({"linkedAccounts": shapes} | ({"tokenExpiry": expiries} if expiries else {}))
    elif is_empty:
        output.line("No account is linked. `whaul link --waba-id ID --token-file FILE` links one.")


def unlink(
    account: Annotated[str, typer.Argument(metavar="ID", help="waba-…, its ARN, or Meta's id.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove a linked account with its phone numbers and its token.

    Examples:
        whaul unlink 400000000000001
        whaul unlink --yes waba-0123456789abcdef0123456789abcdef
    """
    from whaul.settings import Settings

    if not yes and not output.confirms(f"Remove {account}, its phone numbers and its token?"):
        raise CommandError("nothing was removed")
    if not asyncio.run(_unlink(Settings.load(), account)):
        raise CommandError(f"{account} is not linked; `whaul accounts` lists what is")
    output.line(f"Removed {account}.")


async def _unlink(settings: "Settings", account: str) -> bool:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.accounts.unlink(account)


def _show(account: "LinkedAccount") -> None:
    facts = [f"WABA {account.meta_waba_id}", f"linked {account.linked_at:%Y-%m-%d}"]
    if account.token_expires_at is not None:
        verb = "expires" if account.token_expires_at > datetime.now(UTC) else "expired"
        facts.append(f"token {verb} {account.token_expires_at:%Y-%m-%d %H:%M} UTC")
    output.line(f"{account.id}  {account.name}  ({', '.join(facts)})")
    rows = [
        (number.id, number.display_phone_number, number.verified_name, f"Meta id {number.meta_id}", number.arn)
        for number in account.phone_numbers
    ]
    output.rows(rows or [("no phone numbers",)])


def _number(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(\d{1,64})=(\+[\d ()-]{4,30})", text)
    if not match:
        raise typer.BadParameter(f"{text!r}: expected META_ID=+15550100", param_hint="--phone-number")
    return match[1], match[2]


def _token(path: str | None) -> "SecretStr":
    if path is not None:
        return secret_from("--token-file", path)
    token = output.environment(TOKEN_VARIABLE)
    if token is None:
        raise CommandError(f"no access token; give --token-file FILE, --token-file - or set {TOKEN_VARIABLE}")
    return _word(TOKEN_VARIABLE, token)


def secret_from(option: str, path: str) -> "SecretStr":
    """Read a secret from a file, or from standard input. The path is not repeated: it may be the secret itself."""
    from whaul.secrets import read_secret

    try:
        with nullcontext(output.standard_input()) if path == "-" else Path(path).open("rb") as file:
            text = read_secret(file)
    except OSError as error:
        raise CommandError(f"{option}: cannot read {_source(path)}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(f"{option}: {_source(path)} {error}") from None
    return _word(f"{option}: {_source(path)}", text)


def _source(path: str) -> str:
    return "standard input" if path == "-" else "the file"


def _word(source: str, text: str) -> "SecretStr":
    from pydantic import SecretStr

    from whaul.secrets import secret_word

    try:
        return SecretStr(secret_word(text))
    except ValueError as error:
        raise CommandError(f"{source} {error}") from None
