"""What the commands about webhooks and events share: what they open, and how things are named to them."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from whaul.cli import output
from whaul.cli.failures import CommandError

if TYPE_CHECKING:
    from whaul.arns import Arns
    from whaul.events.database.store import Store
    from whaul.events.delivery.destinations import Destinations
    from whaul.events.routing import Destination
    from whaul.model import LinkedAccount
    from whaul.registry.registry import Registry
    from whaul.secrets import Cipher
    from whaul.settings import Settings

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="waba-…, its ARN, or Meta's id.")]
OneOrAll = Annotated[str | None, typer.Argument(metavar="[ACCOUNT]", help="One account; default: all.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count them.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")]
NextToken = Annotated[str | None, typer.Option("--next-token", metavar="TOKEN", help="Go on from the page before.")]


@dataclass(frozen=True, slots=True)
class Inbound:
    """The registry and the tables of events, opened."""

    settings: "Settings"
    registry: "Registry"
    store: "Store"
    cipher: "Cipher"
    arns: "Arns"

    @property
    def owner(self) -> str:
        """The account number."""
        return self.settings.account_id

    @property
    def destinations(self) -> "Destinations":
        """The destinations of events."""
        from whaul.events.delivery.destinations import Destinations

        return Destinations(self.store, self.cipher, self.owner)

    async def account(self, name: str) -> "LinkedAccount":
        """Find a linked account by its id, its ARN or Meta's id."""
        account = await self.registry.accounts.find(name)
        if account is None:
            raise CommandError(f"{name} is not linked; `whaul accounts` lists what is")
        return account

    async def phone_numbers(self, names: Iterable[str]) -> frozenset[str]:
        """Find Meta's ids of linked phone numbers, each given by that id, by whaul's, or by its ARN."""
        wanted = list(names)
        ids = [self.arns.read_phone_number(name) or name for name in wanted]
        accounts = await self.registry.accounts.named(ids) if wanted else ()
        known = {
            name: number.meta_id
            for account in accounts
            for number in account.phone_numbers
            for name in (number.id, number.arn, number.meta_id)
        }
        for name in wanted:
            if name not in known:
                raise CommandError(f"{name} is no linked phone number; `whaul accounts` lists them")
        return frozenset(known[name] for name in wanted)

    async def destination(self, name: str) -> "Destination":
        """Find a destination."""
        found = await self.destinations.find(name)
        if found is None:
            no_destination(name)
        return found


@asynccontextmanager
async def opened(settings: "Settings") -> AsyncGenerator[Inbound]:
    """Open what the commands need."""
    from whaul.arns import Arns
    from whaul.components import cipher, event_store, open_registry

    async with open_registry(settings) as registry, event_store(settings) as store:
        yield Inbound(settings, registry, store, cipher(settings), Arns(settings.account_id, settings.region))


def tell_that_it_is_away() -> None:
    """Say that the database does not answer."""
    output.tell("whaul: the database does not answer; waiting for it")


def no_destination(name: str) -> NoReturn:
    """Say that there is no such destination."""
    raise CommandError(f"there is no destination {name}; `whaul destinations list` lists them")


def moment_from(option: str, text: str | None) -> datetime | None:
    """Read a time: RFC 3339, a day, or `15m`, `2h`, `7d` ago."""
    from whaul.setting_types import moment

    try:
        return None if text is None else moment(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def timestamp(moment: datetime) -> str:
    """Write a time as RFC 3339, in UTC, to the millisecond."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def counted(count: int, noun: str) -> str:
    """Write how many of something there are."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def ago(seconds: float) -> str:
    """Write how long ago something was, roughly."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
