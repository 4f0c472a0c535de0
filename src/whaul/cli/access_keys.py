"""`whaul keys`: the access keys that callers sign with."""

import asyncio
import json as json_module
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import key_records, output, policies
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandError
from whaul.cli.output import OutputError

if TYPE_CHECKING:
    from whaul.model import AccessKey
    from whaul.registry.access_keys import AccessKeyRecord
    from whaul.settings import Settings

app = typer.Typer(help="Access keys for callers.", no_args_is_help=True, add_completion=False)
VARIABLES = {
    "accessKeyId": "AWS_ACCESS_KEY_ID",
    "secretAccessKey": "AWS_SECRET_ACCESS_KEY",
    "sessionToken": "AWS_SESSION_TOKEN",
    "expiration": "AWS_CREDENTIAL_EXPIRATION",
}
"""What AWS tools call them; the last as `aws configure export-credentials --format env` prints it."""
RateLimit = Annotated[
    float | None, typer.Option(min=0, max=1_000_000, help="Calls per second and worker; 0 for no limit.")
]
RateBurst = Annotated[
    int | None, typer.Option(min=1, max=1_000_000, help="Calls at once. Default: one second's worth.")
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The access key id.")]


@app.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="Who uses it; shown in logs and messages.")],
    policy: Annotated[
        Path | None, typer.Option(help="File with an IAM policy document, or - for standard input.")
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="Give it the policy of a viewer, an operator or an admin."),
    ] = None,
    allow_all: Annotated[bool, typer.Option("--allow-all", help="Create a key that may do everything.")] = False,
    expires_in: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Create a temporary key with a session token: 30s, 15m, 1h or 7d."),
    ] = None,
    rate_limit: RateLimit = None,
    rate_burst: RateBurst = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print the key as a profile for ~/.aws/config.")
    ] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the profile's user reaches the server. Default: where it listens by the settings.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Create an access key. Its secret is shown once.

    Examples:
        whaul keys create --name inbox --policy policy.json
        whaul keys create --name desk --role operator
        whaul keys create --name inbox --allow-all --profile inbox >> ~/.aws/config
        whaul keys create --name job --allow-all --expires-in 1h
    """
    from whaul.registry.access_keys import MAX_LIFE, check_name
    from whaul.settings import Settings

    try:
        check_name(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--name") from None
    _check_burst(rate_limit, rate_burst)
    _check_profile(profile, endpoint_url, json)
    end = None if expires_in is None else datetime.now(UTC) + life(expires_in, MAX_LIFE)
    settings = Settings.load()
    text = _chosen_policy(settings, policy, role, allow_all=allow_all)
    key = asyncio.run(_create(settings, name, text, expires_at=end, rate_limit=rate_limit, rate_burst=rate_burst))
    shown = {"accessKeyId": key.access_key_id, "secretAccessKey": key.secret_access_key.get_secret_value()}
    if key.session_token is not None and end is not None:
        shown |= {"sessionToken": key.session_token.get_secret_value(), "expiration": end.isoformat()}
    try:
        if json:
            output.document(shown | {"name": key.name}, must_be_read=True)
        elif profile is not None:
            for line in _profile(profile, shown, settings, endpoint_url):
                output.line(line, must_be_read=True)
        else:
            for member, value in shown.items():
                output.line(f"{VARIABLES[member]}={value}", must_be_read=True)
    except OutputError as error:
        asyncio.run(_disable(settings, key.access_key_id))
        raise CommandError(
            f"{error}; the new key {key.access_key_id}, which nobody has seen, has been disabled"
        ) from error
    if not json:
        output.tell("Save the secret now: it is not shown again.")


def _chosen_policy(settings: "Settings", file: Path | None, role: str | None, *, allow_all: bool) -> str:
    from whaul.arns import Arns
    from whaul.auth.policy import ALLOW_ALL
    from whaul.operations.roles import ROLES

    if [file is not None, role is not None, allow_all].count(True) != 1:
        raise typer.BadParameter("give one of --policy FILE, --role ROLE and --allow-all")
    if file is not None:
        return policies.read_policy(file, settings)
    if role is None:
        return ALLOW_ALL
    whole = [name for name, each in ROLES.items() if each.is_whole]
    if role not in whole:
        raise typer.BadParameter(f"expected one of {', '.join(whole)}", param_hint="--role")
    return ROLES[role].policy(Arns(settings.account_id, settings.region))


async def _create(settings: "Settings", name: str, policy: str, **options: Any) -> "AccessKey":
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.create(name, policy, **options)


@app.command("list")
def list_keys(json: Json = False) -> None:
    """List the access keys, without their secrets, and when they were used last."""
    from whaul.settings import Settings

    keys = asyncio.run(_list(Settings.load()))
    if json:
        output.document({"accessKeys": [key_records.shape(key) for key in keys]})
    elif keys:
        output.rows(
            [
                (
                    *(key.access_key_id, key.name, key_records.state(key), f"made {key.created_at:%Y-%m-%d}"),
                    key_records.last_use(key),
                    "" if key.rate_limit is None else key_records.rate_limit(key.rate_limit, key.rate_burst),
                )
                for key in keys
            ]
        )
    else:
        output.line("There are no access keys. `whaul keys create --name NAME --allow-all` makes one.")


async def _list(settings: "Settings") -> "tuple[AccessKeyRecord, ...]":
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.all()


@app.command()
def show(key_id: KeyId, json: Json = False) -> None:
    """Show an access key without its secret: its state, when it was used last, its limits and its policy."""
    from whaul.settings import Settings

    key = asyncio.run(key_records.record(Settings.load(), key_id))
    if json:
        output.document({"accessKey": key_records.shape(key)})
        return
    output.line(f"{key.access_key_id}  {key.name}")
    facts = [key_records.state(key), f"made {key.created_at:%Y-%m-%d}", key_records.last_use(key)]
    output.rows([(fact,) for fact in [*facts, key_records.rate_limit(key.rate_limit, key.rate_burst), "policy:"]])
    output.document(json_module.loads(key.policy))


@app.command()
def disable(key_id: KeyId) -> None:
    """Disable an access key. Running gateways refuse it within 5 seconds."""
    from whaul.settings import Settings

    settings = Settings.load()
    key = asyncio.run(key_records.record(settings, key_id))
    if not asyncio.run(_disable(settings, key_id)):
        raise key_records.unknown(key_id)
    output.line(f"Disabled {key_id} ({key.name}; {key_records.last_use(key)}). `whaul keys enable {key_id}` undoes it.")


async def _disable(settings: "Settings", key_id: str) -> bool:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.disable(key_id)


@app.command()
def enable(key_id: KeyId) -> None:
    """Enable an access key that was disabled. It works at once."""
    from whaul.settings import Settings

    settings = Settings.load()
    if not asyncio.run(_enable(settings, key_id)):
        raise key_records.unknown(key_id)
    key = asyncio.run(key_records.record(settings, key_id))
    output.line(f"{key_id} ({key.name}) is {key_records.state(key)}.")


async def _enable(settings: "Settings", key_id: str) -> bool:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.enable(key_id)


@app.command()
def delete(
    key_id: KeyId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete an access key, which cannot be undone. Running gateways refuse it within 5 seconds."""
    from whaul.settings import Settings

    settings = Settings.load()
    key = asyncio.run(key_records.record(settings, key_id))
    if key.is_in_use(datetime.now(UTC)):
        output.tell(
            f"warning: {key_id} was {key_records.last_use(key)}: somebody may still use it. "
            f"`whaul keys disable {key_id}` can be undone, deleting cannot."
        )
    if not yes and not output.confirms(f"Delete {key_id} ({key.name}; {key_records.last_use(key)})?"):
        raise CommandError("nothing was deleted")
    if not asyncio.run(_delete(settings, key_id)):
        raise key_records.unknown(key_id)
    output.line(f"Deleted {key_id} ({key.name}).")


async def _delete(settings: "Settings", key_id: str) -> bool:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.delete(key_id)


@app.command("policy")
def set_policy(
    key_id: KeyId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An IAM policy document, or - for standard input.")],
) -> None:
    """Replace an access key's policy. Running gateways follow within 5 seconds."""
    from whaul.settings import Settings

    settings = Settings.load()
    if not asyncio.run(_set_policy(settings, key_id, policies.read_policy(file, settings))):
        raise key_records.unknown(key_id)
    output.line(f"{key_id} has the policy of {policies.origin(file)}.")


async def _set_policy(settings: "Settings", key_id: str, policy: str) -> bool:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.set_policy(key_id, policy)


@app.command()
def limit(
    key_id: KeyId,
    rate_limit: RateLimit = None,
    rate_burst: RateBurst = None,
    default: Annotated[bool, typer.Option("--default", help="Use the server's WHAUL_RATE_LIMIT again.")] = False,
) -> None:
    """Give an access key its own rate limit. Running gateways follow within 5 seconds."""
    from whaul.settings import Settings

    if (rate_limit is None) == (not default):
        raise typer.BadParameter("give either --rate-limit N or --default")
    _check_burst(rate_limit, rate_burst)
    if not asyncio.run(_set_limit(Settings.load(), key_id, rate_limit, rate_burst)):
        raise key_records.unknown(key_id)
    output.line(f"{key_id} has {key_records.rate_limit(rate_limit, rate_burst)}.")


async def _set_limit(settings: "Settings", key_id: str, rate_limit: float | None, rate_burst: int | None) -> bool:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.set_rate_limit(key_id, rate_limit, rate_burst)


simulate = app.command()(policies.simulate)


def _check_profile(profile: str | None, endpoint_url: str | None, json: bool) -> None:
    if profile is None:
        if endpoint_url is not None:
            raise typer.BadParameter("goes with --profile", param_hint="--endpoint-url")
        return
    if json:
        raise typer.BadParameter("give either --json or --profile")
    if not re.fullmatch(r"[A-Za-z0-9_.@+-]{1,64}", profile):
        raise typer.BadParameter("expected up to 64 letters, digits and _ . @ + -", param_hint="--profile")
    if endpoint_url is not None and not re.fullmatch(r"https?://[^\s/]+/?", endpoint_url):
        raise typer.BadParameter("expected http:// or https:// and a host", param_hint="--endpoint-url")


def _profile(name: str, key: dict[str, str], settings: "Settings", endpoint_url: str | None) -> list[str]:
    """Write a profile. Its `services` section sends this service's calls here, and no other service's.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    members = {VARIABLES[member].lower(): value for member, value in key.items() if member != "expiration"}
    return [
        "[default]" if name == "default" else f"[profile {name}]",
        *(f"{member} = {value}" for member, value in members.items()),
        f"region = {settings.region}",
        f"services = whaul-{name}",
        "",
        f"[services whaul-{name}]",
        "socialmessaging =",
        f"  endpoint_url = {endpoint_url or _own_url(settings)}",
    ]


def _own_url(settings: "Settings") -> str:
    """Say where a program on this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not listened on
    scheme = "https" if settings.tls_cert_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"


def life(text: str, longest: timedelta) -> timedelta:
    """Read what --expires-in says."""
    from whaul.setting_types import duration

    try:
        length = duration(text)
    except ValueError:
        length = timedelta()
    if not timedelta() < length <= longest:
        raise typer.BadParameter(
            f"expected a time such as 30s, 15m, 1h or 7d, at most {longest.days}d", param_hint="--expires-in"
        )
    return length


def _check_burst(rate_limit: float | None, rate_burst: int | None) -> None:
    if rate_burst is not None and not rate_limit:
        raise typer.BadParameter("--rate-burst goes with a --rate-limit above 0")
