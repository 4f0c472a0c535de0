"""Access keys as the commands read and show them."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from whaul.cli.failures import CommandError

if TYPE_CHECKING:
    from whaul.registry.access_keys import AccessKeyRecord
    from whaul.settings import Settings


async def record(settings: "Settings", key_id: str) -> "AccessKeyRecord":
    """Read one. Raises `CommandError` for an unknown id."""
    from whaul.components import open_registry

    async with open_registry(settings) as registry:
        key = await registry.access_keys.record(key_id)
    if key is None:
        raise unknown(key_id)
    return key


def unknown(key_id: str) -> CommandError:
    """Build the failure for an id that no key has."""
    return CommandError(f"there is no access key {key_id}; `whaul keys list` lists them")


def state(key: "AccessKeyRecord") -> str:
    """Say whether it can be used."""
    if key.disabled_at is not None:
        return f"disabled {key.disabled_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "enabled"
    return f"{'expired' if key.expires_at <= datetime.now(UTC) else 'until'} {_minute(key.expires_at)}"


def last_use(key: "AccessKeyRecord") -> str:
    """Say when it was used last."""
    if key.last_use is None:
        return "no use known"
    return f"used {_minute(key.last_use.at)}" + (f" for {key.last_use.operation}" if key.last_use.operation else "")


def rate_limit(rate_limit: float | None, rate_burst: int | None) -> str:
    """Say how often it may call."""
    if rate_limit is None:
        return "the limit of the server"
    if not rate_limit:
        return "no rate limit"
    return f"{rate_limit:g} calls per second" + (f", {rate_burst} at once" if rate_burst else "")


def shape(key: "AccessKeyRecord") -> dict[str, object]:
    """Shape it for `--json`, much as IAM does."""
    return {
        "accessKeyId": key.access_key_id,
        "name": key.name,
        "status": "Active" if key.disabled_at is None else "Inactive",
        "createDate": key.created_at.isoformat(),
        "expiration": key.expires_at.isoformat() if key.expires_at else None,
        "lastUsedDate": key.last_use.at.isoformat() if key.last_use else None,
        "lastUsedOperation": key.last_use.operation if key.last_use else None,
        "rateLimit": key.rate_limit,
        "rateBurst": key.rate_burst,
        "policy": json.loads(key.policy),
    }


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
