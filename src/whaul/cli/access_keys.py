"""`whaul keys`: the access keys that callers sign with."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from whaul import parts
from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandFailed
from whaul.model import AccessKey
from whaul.policy import ALLOW_ALL, Policy, PolicyError
from whaul.registry.records import AccessKeyRecord
from whaul.settings import Settings

app = typer.Typer(help="Access keys for callers.", no_args_is_help=True)
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The access key id.")]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who uses it; appears in logs and messages.")],
    policy: Annotated[Path | None, typer.Option(help="File that holds an IAM policy document.")] = None,
    allow_all: Annotated[bool, typer.Option("--allow-all", help="A key that may do everything.")] = False,
    json: Json = False,
) -> None:
    """Make an access key; its secret is shown once."""
    if not name.isascii() or not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(name) > 64:
        raise typer.BadParameter("expected up to 64 letters, digits, '-', '_' or '.'", param_hint="--name")
    if (policy is None) == (not allow_all):
        raise typer.BadParameter("give either --policy FILE or --allow-all")
    text = ALLOW_ALL if policy is None else _policy(policy)
    key = asyncio.run(_create(Settings.load(), name, text))
    secret = key.secret_access_key.get_secret_value()
    if json:
        output.document({"accessKeyId": key.access_key_id, "secretAccessKey": secret, "name": key.name})
        return
    typer.echo(f"AWS_ACCESS_KEY_ID={key.access_key_id}")
    typer.echo(f"AWS_SECRET_ACCESS_KEY={secret}")
    typer.echo("Keep the secret now: it is not shown again.", err=True)


async def _create(settings: Settings, name: str, policy: str) -> AccessKey:
    async with parts.registry(settings) as registry:
        return await registry.create_access_key(name, policy)


@app.command("list")
def list_keys(json: Json = False) -> None:
    """List the access keys, without their secrets."""
    keys = asyncio.run(_list(Settings.load()))
    if json:
        output.document({"accessKeys": [_shape(key) for key in keys]})
    elif keys:
        output.rows([(key.access_key_id, key.name, _state(key), f"made {key.created_at:%Y-%m-%d}") for key in keys])
    else:
        typer.echo("There are no access keys. `whaul keys create --name NAME --allow-all` makes one.")


async def _list(settings: Settings) -> tuple[AccessKeyRecord, ...]:
    async with parts.registry(settings) as registry:
        return await registry.access_keys()


@app.command()
def disable(key_id: KeyId) -> None:
    """Disable an access key for good; running gateways refuse it within 5 seconds."""
    if not asyncio.run(_disable(Settings.load(), key_id)):
        raise _unknown(key_id)
    typer.echo(f"Disabled {key_id}.")


async def _disable(settings: Settings, key_id: str) -> bool:
    async with parts.registry(settings) as registry:
        return await registry.disable_access_key(key_id)


@app.command("policy")
def set_policy(
    key_id: KeyId, file: Annotated[Path, typer.Argument(metavar="FILE", help="An IAM policy document.")]
) -> None:
    """Replace an access key's policy; running gateways follow within 5 seconds."""
    if not asyncio.run(_set_policy(Settings.load(), key_id, _policy(file))):
        raise _unknown(key_id)
    typer.echo(f"{key_id} has the policy of {file}.")


async def _set_policy(settings: Settings, key_id: str, policy: str) -> bool:
    async with parts.registry(settings) as registry:
        return await registry.set_policy(key_id, policy)


def _policy(path: Path) -> str:
    """Read a policy document that can be evaluated."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CommandFailed(f"cannot read {path}: {reason}") from None
    try:
        Policy.parse(text)
    except PolicyError as error:
        raise CommandFailed(f"{path}: {error}") from None
    return text


def _unknown(key_id: str) -> CommandFailed:
    return CommandFailed(f"there is no access key {key_id}; `whaul keys list` lists them")


def _state(key: AccessKeyRecord) -> str:
    return "enabled" if key.disabled_at is None else f"disabled {key.disabled_at:%Y-%m-%d}"


def _shape(key: AccessKeyRecord) -> dict[str, object]:
    return {
        "accessKeyId": key.access_key_id,
        "name": key.name,
        "status": "Active" if key.disabled_at is None else "Inactive",
        "createDate": key.created_at.isoformat(),
        "expiration": key.expires_at.isoformat() if key.expires_at else None,
        "policy": key.policy,
    }
