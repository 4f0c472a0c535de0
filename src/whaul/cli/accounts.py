"""`whaul link`, `whaul accounts` and `whaul unlink`."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from whaul.cli import output
from whaul.cli.failures import CommandFailed
from whaul.model import GraphToken
from whaul.parts import stored
from whaul.parts.outbound import graph_client, http_client
from whaul.registry.records import LinkedAccount, NewAccount, NewPhoneNumber
from whaul.registry.shapes import linked_account, linked_account_summary
from whaul.settings import Settings

TOKEN_VARIABLE = "WHATSAPP_ACCESS_TOKEN"  # noqa: S105 - a variable's name

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def link(
    *,
    waba_id: Annotated[str, typer.Option(help="Meta's id of the WhatsApp Business Account.")],
    token_file: Annotated[
        str | None,
        typer.Option(help=f"File that holds the access token; - for standard input. Unset: ${TOKEN_VARIABLE}."),
    ] = None,
    app_secret_file: Annotated[
        str | None, typer.Option(help="File that holds the app secret, when the app requires proof of it.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Ask Meta for the account and its numbers.")] = True,
    name: Annotated[str | None, typer.Option(help="With --no-verify: the account's name.")] = None,
    phone_number: Annotated[
        list[str] | None, typer.Option(help="With --no-verify: META_ID=+15550100; repeat it for each number.")
    ] = None,
    json: Json = False,
) -> None:
    """Link a WhatsApp Business Account: check its token at Meta, store it with its phone numbers."""
    if not re.fullmatch(r"\d{1,64}", waba_id):
        raise typer.BadParameter("expected digits, as Meta shows it", param_hint="--waba-id")
    if verify and (name or phone_number):
        raise typer.BadParameter("--name and --phone-number go with --no-verify")
    if not verify and not (name and phone_number):
        raise typer.BadParameter("--no-verify needs --name and at least one --phone-number")
    token = GraphToken(_token(token_file), _secret(app_secret_file) if app_secret_file else None)
    numbers = tuple(_number(text) for text in phone_number or ())
    account = asyncio.run(_link(Settings.load(), waba_id, token, name, numbers))
    if json:
        output.document({"account": linked_account(account)})
    else:
        _show(account)


async def _link(
    settings: Settings, waba_id: str, token: GraphToken, name: str | None, numbers: tuple[NewPhoneNumber, ...]
) -> LinkedAccount:
    verified = name is None
    if name is None:
        async with http_client(settings) as http:
            found = await graph_client(settings, http).account(token, waba_id)
        name = found.name
        numbers = tuple(
            NewPhoneNumber(n.meta_id, n.display_phone_number, n.verified_name, n.quality_rating, n.status)
            for n in found.phone_numbers
        )
    new = NewAccount(
        meta_waba_id=waba_id,
        name=name,
        access_token=token.access_token,
        app_secret=token.app_secret,
        phone_numbers=numbers,
        verified=verified,
    )
    async with stored.registry(settings) as registry:
        return await registry.link(new)


def list_accounts(json: Json = False) -> None:
    """List the linked accounts and their phone numbers."""
    accounts = asyncio.run(_accounts(Settings.load()))
    if json:
        output.document({"linkedAccounts": [linked_account_summary(account) for account in accounts]})
        return
    if not accounts:
        typer.echo("No account is linked. `whaul link --waba-id ID --token-file FILE` links one.")
    for account in accounts:
        _show(account)


async def _accounts(settings: Settings) -> tuple[LinkedAccount, ...]:
    async with stored.registry(settings) as registry:
        return await registry.accounts()


def unlink(
    account: Annotated[str, typer.Argument(metavar="ID", help="waba-…, its ARN, or Meta's id.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a linked account with its phone numbers and its token."""
    if not yes:
        typer.confirm(f"Remove {account}, its phone numbers and its token?", abort=True)
    if not asyncio.run(_unlink(Settings.load(), account)):
        raise CommandFailed(f"{account} is not linked; `whaul accounts` lists what is")
    typer.echo(f"Removed {account}.")


async def _unlink(settings: Settings, account: str) -> bool:
    async with stored.registry(settings) as registry:
        return await registry.unlink(account)


def _show(account: LinkedAccount) -> None:
    typer.echo(f"{account.id}  {account.name}  (WABA {account.meta_waba_id}, linked {account.linked_at:%Y-%m-%d})")
    rows = [(n.id, n.display_phone_number, n.verified_name, f"Meta id {n.meta_id}") for n in account.phone_numbers]
    output.rows(rows or [("no phone numbers",)])


def _number(text: str) -> NewPhoneNumber:
    match = re.fullmatch(r"(\d{1,64})=(\+[\d ()-]{4,30})", text)
    if not match:
        raise typer.BadParameter(f"{text!r}: expected META_ID=+15550100", param_hint="--phone-number")
    return NewPhoneNumber(meta_id=match[1], display_phone_number=match[2], verified_name="")


def _token(path: str | None) -> SecretStr:
    if path is not None:
        return _secret(path)
    token = output.environment(TOKEN_VARIABLE)
    if token is None:
        raise CommandFailed(f"no access token; give --token-file FILE, --token-file - or set {TOKEN_VARIABLE}")
    return SecretStr(token)


def _secret(path: str) -> SecretStr:
    """Read a secret from a file, or from standard input."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CommandFailed(f"cannot read {path}: {reason}") from None
    secret = text.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise CommandFailed(f"{'standard input' if path == '-' else path} does not hold one word of plain text")
    return SecretStr(secret)
