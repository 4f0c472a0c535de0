"""`whaul keys`: the access keys that callers sign with."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whaul.cli import output
from whaul.cli.accounts import Json
from whaul.cli.failures import CommandError
from whaul.cli.output import OutputError

if TYPE_CHECKING:
    from whaul.model import AccessKey
    from whaul.registry.access_keys import AccessKeyRecord
    from whaul.settings import Settings

app = typer.Typer(help="Access keys for callers.", no_args_is_help=True, add_completion=False)
MAX_LIFE = timedelta(days=365)
"""Of a temporary key."""
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
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
    policy: Annotated[Path | None, typer.Option(help="File with an IAM policy document.")] = None,
    allow_all: Annotated[bool, typer.Option("--allow-all", help="Create a key that may do everything.")] = False,
    expires_in: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Create a temporary key with a session token: 30s, 15m, 1h or 7d."),
    ] = None,
    rate_limit: RateLimit = None,
    rate_burst: RateBurst = None,
    json: Json = False,
) -> None:
    """Create an access key. Its secret is shown once."""
    from whaul.auth.policy import ALLOW_ALL
    from whaul.settings import Settings

    if not name.isascii() or not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(name) > 64:
        raise typer.BadParameter("expected up to 64 letters, digits, '-', '_' or '.'", param_hint="--name")
    if (policy is None) == (not allow_all):
        raise typer.BadParameter("give either --policy FILE or --allow-all")
    _check_burst(rate_limit, rate_burst)
    text = ALLOW_ALL if policy is None else _policy(policy)
    end = None if expires_in is None else datetime.now(UTC) + _duration(expires_in)
    settings = Settings.load()
    key = asyncio.run(_create(settings, name, text, expires_at=end, rate_limit=rate_limit, rate_burst=rate_burst))
    shown = {"accessKeyId": key.access_key_id, "secretAccessKey": key.secret_access_key.get_secret_value()}
    if key.session_token is not None and end is not None:
        shown |= {"sessionToken": key.session_token.get_secret_value(), "expiration": end.isoformat()}
    try:
        if json:
            output.document(shown | {"name": key.name}, must_be_read=True)
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


async def _create(settings: "Settings", name: str, policy: str, **options: Any) -> "AccessKey":
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.create(name, policy, **options)


@app.command("list")
def list_keys(json: Json = False) -> None:
    """List the access keys, without their secrets."""
    from whaul.settings import Settings

    keys = asyncio.run(_list(Settings.load()))
    if json:
        output.document({"accessKeys": [_shape(key) for key in keys]})
    elif keys:
        output.rows(
            [(key.access_key_id, key.name, _state(key), f"made {key.created_at:%Y-%m-%d}", _limit(key)) for key in keys]
        )
    else:
        output.line("There are no access keys. `whaul keys create --name NAME --allow-all` makes one.")


async def _list(settings: "Settings") -> "tuple[AccessKeyRecord, ...]":
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.all()


@app.command()
def disable(key_id: KeyId) -> None:
    """Disable an access key permanently. Running gateways refuse it within 5 seconds."""
    from whaul.settings import Settings

    if not asyncio.run(_disable(Settings.load(), key_id)):
        raise _unknown(key_id)
    output.line(f"Disabled {key_id}.")


async def _disable(settings: "Settings", key_id: str) -> bool:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.disable(key_id)


@app.command("policy")
def set_policy(
    key_id: KeyId, file: Annotated[Path, typer.Argument(metavar="FILE", help="An IAM policy document.")]
) -> None:
    """Replace an access key's policy. Running gateways follow within 5 seconds."""
    from whaul.settings import Settings

    if not asyncio.run(_set_policy(Settings.load(), key_id, _policy(file))):
        raise _unknown(key_id)
    output.line(f"{key_id} has the policy of {file}.")


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
        raise _unknown(key_id)
    limited = "the limit of the server" if rate_limit is None else _limit_text(rate_limit, rate_burst)
    output.line(f"{key_id} has {limited}.")


async def _set_limit(settings: "Settings", key_id: str, rate_limit: float | None, rate_burst: int | None) -> bool:
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        return await registry.access_keys.set_rate_limit(key_id, rate_limit, rate_burst)


@app.command()
def simulate(
    key_id: KeyId,
    action: Annotated[str, typer.Option(help="As in a policy: social-messaging:GetWhatsAppMessageMedia.")],
    resource: Annotated[str, typer.Option(help="An ARN; * for an action that takes no resource.")],
    json: Json = False,
) -> None:
    """Show whether an access key's policy allows an action on a resource, and which statement decides."""
    from whaul.auth.policy import Policy
    from whaul.settings import Settings

    if not re.fullmatch(r"[A-Za-z0-9-]+:[A-Za-z0-9]+", action):
        raise typer.BadParameter("expected service:Name, without wildcards", param_hint="--action")
    if resource != "*" and not re.fullmatch(r"arn(:[^:]*){4}:.+", resource, re.DOTALL):
        raise typer.BadParameter("expected an ARN, or *", param_hint="--resource")
    key = next((key for key in asyncio.run(_list(Settings.load())) if key.access_key_id == key_id), None)
    if key is None:
        raise _unknown(key_id)
    decision = Policy.parse(key.policy).evaluate(action, resource)
    if json:
        word = "allowed" if decision.allowed else "explicitDeny" if decision.explicit else "implicitDeny"
        output.document(
            {
                "accessKeyId": key_id,
                "name": key.name,
                "action": action,
                "resource": resource,
                "decision": word,
                "statement": decision.statement,
            }
        )
    elif decision.explicit:
        output.line(f"{'Allowed' if decision.allowed else 'Denied'} by the statement {decision.statement}.")
    else:
        output.line("Denied: no statement allows it.")
    if _state(key).startswith(("disabled", "expired")):
        output.tell(f"The key is {_state(key)}: its calls are refused, whatever its policy says.")


def _policy(path: Path) -> str:
    """Read a policy document that can be evaluated."""
    from whaul.auth.policy import Policy, PolicyError

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CommandError(f"cannot read {path}: {reason}") from None
    try:
        Policy.parse(text)
    except PolicyError as error:
        raise CommandError(f"{path}: {error}") from None
    return text


def _unknown(key_id: str) -> CommandError:
    return CommandError(f"there is no access key {key_id}; `whaul keys list` lists them")


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,8})([smhd])", text)
    duration = timedelta(seconds=int(match[1]) * SECONDS[match[2]]) if match else timedelta()
    if not timedelta() < duration <= MAX_LIFE:
        raise typer.BadParameter(
            f"expected a time such as 30s, 15m, 1h or 7d, at most {MAX_LIFE.days}d", param_hint="--expires-in"
        )
    return duration


def _check_burst(rate_limit: float | None, rate_burst: int | None) -> None:
    if rate_burst is not None and not rate_limit:
        raise typer.BadParameter("--rate-burst goes with a --rate-limit above 0")


def _limit(key: "AccessKeyRecord") -> str:
    return "" if key.rate_limit is None else _limit_text(key.rate_limit, key.rate_burst)


def _limit_text(rate_limit: float, rate_burst: int | None) -> str:
    if not rate_limit:
        return "no rate limit"
    return f"{rate_limit:g} calls per second" + (f", {rate_burst} at once" if rate_burst else "")


def _state(key: "AccessKeyRecord") -> str:
    if key.disabled_at is not None:
        return f"disabled {key.disabled_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "enabled"
    if key.expires_at <= datetime.now(UTC):
        return f"expired {key.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"until {key.expires_at:%Y-%m-%d %H:%M} UTC"


def _shape(key: "AccessKeyRecord") -> dict[str, object]:
    return {
        "accessKeyId": key.access_key_id,
        "name": key.name,
        "status": "Active" if key.disabled_at is None else "Inactive",
        "createDate": key.created_at.isoformat(),
        "expiration": key.expires_at.isoformat() if key.expires_at else None,
        "rateLimit": key.rate_limit,
        "rateBurst": key.rate_burst,
        "policy": key.policy,
    }
