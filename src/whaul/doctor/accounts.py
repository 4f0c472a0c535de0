"""The checks of linked accounts: of many, Meta is asked about some."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from whaul.doctor.findings import Finding, failed, ok, skipped, warning
from whaul.errors import ApiError, Retry
from whaul.graph.client import GraphClient
from whaul.model import LinkedAccount, MetaAccount
from whaul.operations.waba import read_account, with_token
from whaul.registry.accounts import Accounts
from whaul.registry.choosing import Chosen
from whaul.registry.errors import RegistryUnavailableError
from whaul.registry.registry import Registry
from whaul.secrets import SecretKeyError

MAX_ACCOUNTS: Final = 100
"""Accounts that Meta is asked about. Each takes it some seconds, one after the other where webhooks are looked at."""
EXPIRES_SOON: Final = timedelta(days=7)
"""A token that expires within this time is worth a warning."""


class Choice(NamedTuple):
    """Which accounts are looked at: one, or of all of them so many."""

    name: str | None = None
    """An id, an ARN or Meta's id."""
    size: int = MAX_ACCOUNTS

    async def of(self, accounts: Accounts, now: datetime) -> Sequence[LinkedAccount]:
        """Choose those whose tokens end soon, then those that were linked first."""
        if self.name is not None:
            found = await accounts.find(self.name)
            return [] if found is None else [found]
        ending = await accounts.page(self.size, chosen=Chosen(expires_before=now + EXPIRES_SOON))
        first = await accounts.page(self.size)
        chosen = {account.id: account for account in (*ending.accounts, *first.accounts)}
        return sorted([*chosen.values()][: self.size], key=lambda account: (account.linked_at, account.id))

    def told(self, asked: int, linked: int) -> Finding | None:
        """Say what is not looked at, or that nothing is linked."""
        if not linked:
            return warning("accounts", "none is linked", "run `whaul link`")
        if self.name is not None:
            is_linked = failed("accounts", f"{self.name} is not linked", "`whaul accounts` lists what is")
            return None if asked else is_linked
        if asked == linked:
            return None
        detail = f"Meta is asked about {asked} of {linked}: those whose tokens end soon, then those linked first"
        return skipped("accounts", detail, "`whaul doctor --account ID` asks about another one")


async def examined(name: str, account: LinkedAccount, registry: Registry, graph: GraphClient, now: datetime) -> Finding:
    """Ask Meta about an account with its token."""
    again = f"link it again: whaul link --waba-id {account.meta_waba_id} --token-file FILE"
    if account.has_app_secret:
        again += " --app-secret-file FILE"
    try:
        target = await registry.accounts.linked_account(account.id)
        if target is None:
            return skipped(name, "it has been unlinked in the meantime")
        found = await read_account(graph, target.token, account.meta_waba_id)
        found = await with_token(graph, target.token, found, account)
    except SecretKeyError:
        return skipped(name, "the secret key does not decrypt its token")
    except RegistryUnavailableError:
        return failed(name, "the database no longer answers", "check the database")
    except ApiError as error:
        advice = "try again later" if error.retry is Retry.YES else again
        return failed(name, error.message, advice)
    return _expiry(name, found.token_expires_at, now, again) or _numbers(name, account, found, again)


def _expiry(name: str, expires_at: datetime | None, now: datetime, again: str) -> Finding | None:
    """Find a token that has expired or soon will."""
    if expires_at is None or expires_at - now >= EXPIRES_SOON:
        return None
    if expires_at <= now:
        return failed(name, f"the token expired at {expires_at:%Y-%m-%d %H:%M} UTC", again)
    return warning(name, f"the token expires at {expires_at:%Y-%m-%d %H:%M} UTC", again)


def _numbers(name: str, account: LinkedAccount, found: MetaAccount, again: str) -> Finding:
    linked = {number.meta_id for number in account.phone_numbers}
    at_meta = {number.meta_id for number in found.phone_numbers}
    if linked != at_meta:
        detail = (
            f"the token is good, but only {len(linked & at_meta)} of {len(at_meta)} phone numbers at Meta are linked"
        )
        gone = len(linked - at_meta)
        return warning(name, detail + (f", and {gone} that no longer exist" if gone else ""), again)
    return ok(name, f"the token is good; {len(linked)} phone numbers are linked")
