"""The checks of webhooks, events and the files of messages. They change nothing."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from whaul.database_url import database_file, is_postgresql
from whaul.doctor.accounts import MAX_ACCOUNTS, Choice
from whaul.doctor.findings import Finding, failed, ok, skipped, warning
from whaul.doctor.machine import filesystem
from whaul.errors import ApiError
from whaul.events.backlog import ALL, SHARE, Count
from whaul.events.database.store import Store
from whaul.events.delivery.destinations import Destinations
from whaul.events.delivery.waiting import Waiting, waiting_for
from whaul.events.receiving.app_secrets import MAX_TRIED, AppSecrets
from whaul.events.receiving.subscriptions import Subscriptions
from whaul.events.receiving.verify_tokens import VerifyTokens
from whaul.events.risks import LAST_CHANCE, Promises, WaitingFiles, key_ids, promises, waiting_files
from whaul.events.routing import Destination
from whaul.graph.client import GraphClient
from whaul.model import LinkedAccount
from whaul.outbound.http import HttpClient
from whaul.registry.choosing import Chosen
from whaul.registry.errors import RegistryUnavailableError
from whaul.registry.registry import Registry
from whaul.secrets import Cipher, SecretKeyError
from whaul.settings import Settings

WEBHOOKS = "webhooks"
OFF = "off, since no app secret is known"
KNOW = "link an account with --app-secret-file, or set WHAUL_APP_SECRETS"
LATE = 900
"""Seconds that an event may wait for a destination that takes events."""
MAX_NAMED = 5
"""Apps or accounts that one finding names."""
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
ELSEWHERE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"})
"""File systems of other machines, whose locks and flushes SQLite cannot rely on. https://www.sqlite.org/useovernet.html"""

Bounded = Callable[[str, Awaitable[Finding]], Awaitable[Finding]]


class InboundChecks:
    """Those of one account number."""

    def __init__(self, settings: Settings, registry: Registry, store: Store, cipher: Cipher, bounded: Bounded) -> None:
        """`bounded` gives up on a check that takes too long."""
        self._settings = settings
        self._registry = registry
        self._store = store
        self._cipher = cipher
        self._owner = settings.account_id
        self._bounded = bounded

    async def findings(
        self, graph: GraphClient | None, http: HttpClient, now: datetime, chosen: Choice
    ) -> AsyncGenerator[Finding]:
        """Yield findings as the checks are made; without a Graph API nothing is said of what Meta has.

        It is asked about the `chosen` accounts.
        """
        try:
            secrets = AppSecrets(self._store, self._cipher, self._owner, self._settings.app_secrets)
            await secrets.read()
            destinations = await Destinations(self._store, self._cipher, self._owner).all()
            accounts = await chosen.of(self._registry.accounts, now)
            unknown = await self._unknown_apps()
            files = await self._files(now)
        except SecretKeyError:
            yield skipped(WEBHOOKS, "the secret key does not decrypt what they need")
            return
        except RegistryUnavailableError:
            yield failed(WEBHOOKS, "the database no longer answers", "check the database")
            return
        if not secrets and not destinations:
            yield skipped(WEBHOOKS, OFF, f"to take Meta's webhooks, {KNOW}")
            return
        yield _secrets(secrets)
        if unknown is not None:
            yield unknown
        yield await self._bounded("durability", self._durability())
        yield await self._bounded("backlog", self._backlog())
        lost = await self._bounded("keys of events", self._keys())
        if lost.advice:
            yield lost
        for destination in destinations:
            name = f"destination {destination.name}"
            yield await self._bounded(name, self._destination(name, destination))
        for found in files:
            if found.advice:
                yield found
        async for finding in self._subscriptions(accounts, graph, http):
            yield finding

    async def _durability(self) -> Finding:
        """Say what an answered webhook rests on."""
        url = self._settings.database_url.get_secret_value()
        if is_postgresql(url):
            return durability_of_postgresql(await promises(self._store))
        kind = filesystem(database_file(url).parent)
        if kind in IN_MEMORY:
            advice = "move the database to a disk, and set WHAUL_DATABASE_URL"
            return failed("durability", f"the database is in memory ({kind}), and is gone after a restart", advice)
        if kind in ELSEWHERE:
            advice = "move it to a disk of this machine, or use PostgreSQL"
            return warning("durability", f"SQLite cannot rely on a network file system ({kind})", advice)
        return ok("durability", "SQLite flushes each commit to the disk" + (f" ({kind})" if kind else ""))

    async def _backlog(self) -> Finding:
        """Say how near webhooks are to being refused."""
        statement = "SELECT waiting, bytes, dead, oldest_at FROM backlog WHERE owner = $1 AND what = $2"
        rows = await self._store.read(statement, self._owner, ALL)
        count = Count(*rows[0]) if rows else Count()
        share = max(count.waiting / self._settings.max_backlog, count.bytes / self._settings.max_backlog_bytes)
        advice = "look at the destinations and files below; what does not deliver fills it"
        if share >= 1:
            return failed(
                "backlog", f"full with {count.waiting} events: webhooks are refused, for Meta to retry", advice
            )
        detail = f"{count.waiting} events wait, {share:.0%} of what may"
        return warning("backlog", detail, advice) if share >= 1 / SHARE else ok("backlog", detail)

    async def _keys(self) -> Finding:
        """Look for what nobody can read."""
        found = await key_ids(self._store, self._owner)
        missing = {key: count for key, count in found.items() if key not in self._cipher.key_ids}
        if not missing:
            return ok("keys of events", "all that waits can be read")
        detail = f"{sum(missing.values())} rows that wait are encrypted with another key ({', '.join(sorted(missing))})"
        return failed("keys of events", detail, "add the old key to WHAUL_SECRET_KEY, after the new one")

    async def _destination(self, name: str, destination: Destination) -> Finding:
        waiting = await waiting_for(self._store, self._cipher, self._owner, destination.number)
        limit = self._settings.max_backlog // SHARE
        return _of_destination(name, destination, waiting, limit)

    async def _unknown_apps(self) -> Finding | None:
        accounts, chosen = self._registry.accounts, Chosen(app_unknown=True)
        named = [account.meta_waba_id for account in (await accounts.page(MAX_NAMED, chosen=chosen)).accounts]
        return _unknown_apps(named, await accounts.count(chosen)) if named else None

    async def _files(self, now: datetime) -> list[Finding]:
        """Look at the accounts whose files are lost first."""
        waiting = await waiting_files(self._store, self._owner, MAX_ACCOUNTS)
        linked = await self._registry.accounts.named(waiting)
        return [_of_files(f"files of {each.meta_waba_id}", each, waiting[each.id], now) for each in linked]

    async def _subscriptions(
        self, accounts: Sequence[LinkedAccount], graph: GraphClient | None, http: HttpClient
    ) -> AsyncGenerator[Finding]:
        """Ask Meta where it sends webhooks, and try the URL."""
        token = await VerifyTokens(self._store, self._cipher, self._owner).find()
        if token is None:
            detail = "the verify token has not been made yet, so Meta sends nothing here"
            yield warning("subscriptions", detail, "run `whaul webhooks subscribe ACCOUNT --url URL`")
            return
        if graph is None:
            yield skipped("subscriptions", "need the Graph API")
            return
        subscriptions = Subscriptions(graph, http, token, self._settings.app_secrets)
        for account in accounts:
            name = f"webhooks {account.meta_waba_id}"
            yield await self._bounded(name, self._subscription(name, account, subscriptions))

    async def _subscription(self, name: str, linked: LinkedAccount, subscriptions: Subscriptions) -> Finding:
        account = await self._registry.accounts.linked_account(linked.id)
        if account is None:
            return skipped(name, "it has been unlinked in the meantime")
        try:
            status = await subscriptions.status(account, linked)
        except ApiError as error:
            return warning(name, error.message, f"try `whaul webhooks status {linked.meta_waba_id}`")
        if status.problems:
            more = len(status.problems) - 1
            detail = status.problems[0] + (f"; {more} more" if more else "")
            return warning(name, detail, f"`whaul webhooks status {linked.meta_waba_id}` shows all of it")
        return ok(name, f"they come to {status.effective_url}")


def _secrets(secrets: AppSecrets) -> Finding:
    if not secrets:
        return warning(WEBHOOKS, f"{OFF}; nothing comes for the destinations", KNOW)
    untried = list(secrets.untried())
    if untried:
        detail = f"only {MAX_TRIED} of {len(secrets)} app secrets are tried where the URL names no app; not those of "
        return warning(
            WEBHOOKS,
            detail + _some(untried),
            "let Meta send them to /webhooks/meta/<app id>, as `whaul webhooks subscribe` does",
        )
    return ok(WEBHOOKS, f"on; {len(secrets)} app {'secret is' if len(secrets) == 1 else 'secrets are'} known")


def _unknown_apps(named: Sequence[str], count: int) -> Finding:
    detail = f"Meta was not asked for the app of {_some(named, count)}, so its secret is good for that account only"
    return warning("apps", detail, "link it again with --app-secret-file")


def durability_of_postgresql(found: Promises) -> Finding:
    """Say what a commit of the server is worth."""
    if not found.fsync or not found.full_page_writes:
        off = "fsync" if not found.fsync else "full_page_writes"
        detail = f"PostgreSQL has {off} = off: after a power cut, answered webhooks may be gone"
        return failed("durability", detail, f"set {off} = on in postgresql.conf")
    if found.replicas and not found.synchronous_standbys:
        detail = f"{found.replicas} replicas, none of them synchronous: a failover may lose webhooks that were answered"
        return warning("durability", detail, "set synchronous_standby_names in postgresql.conf")
    if found.synchronous_commit in {"off", "local"}:
        detail = f"the role has synchronous_commit = {found.synchronous_commit}; webhooks use on all the same"
        advice = "set it to on for the role too: what was delivered may be delivered again after a crash"
        return warning("durability", detail, advice)
    return ok("durability", f"PostgreSQL flushes each commit (synchronous_commit = {found.synchronous_commit})")


def _of_destination(name: str, destination: Destination, waiting: Waiting, limit: int) -> Finding:
    """Find what keeps events from a destination. What its target said is in `whaul destinations show`."""
    oldest = waiting.oldest_seconds or 0
    counts = (
        f"{waiting.pending} wait, the oldest for {timedelta(seconds=oldest)}" if waiting.pending else "nothing waits"
    )
    counts += f"; {waiting.dead} dead letters" if waiting.dead else ""
    show = f"`whaul destinations show {destination.name}` says why"
    resume = f"run `whaul destinations resume {destination.name}`"
    found = ok(name, counts)
    if destination.state == "disabled":
        found = failed(name, f"disabled, since its target said that it is gone (410). {counts}", resume)
    elif destination.state == "open":
        found = failed(name, f"its target refuses everything; it is tried again now and then. {counts}", show)
    elif waiting.pending >= limit:
        found = failed(name, f"it has its share of the backlog; what comes now is dead at once. {counts}", show)
    elif destination.state == "paused":
        found = warning(name, f"paused. {counts}", resume)
    elif waiting.dead:
        dead = f"`whaul events dead list --destination {destination.name}` shows them; then `retry` or `drop`"
        found = warning(name, counts, dead)
    elif oldest > LATE:
        found = warning(name, counts, show)
    return found


def _of_files(name: str, account: LinkedAccount, found: WaitingFiles, now: datetime) -> Finding:
    when = f"the first is lost at {found.first_lost_at:%Y-%m-%d %H:%M} UTC"
    again = f"link the account again: whaul link --waba-id {account.meta_waba_id} --token-file FILE"
    detail = f"{found.waiting} are not archived"
    detail += f", {found.parked} of them since the token is refused or gone; {when}" if found.parked else f"; {when}"
    advice = again if found.parked else f"`whaul archive status {account.meta_waba_id}` says why"
    if (found.first_lost_at - now).total_seconds() <= LAST_CHANCE:
        return failed(name, detail, advice)
    return warning(name, detail, advice) if found.parked else ok(name, detail)


def _some(names: Sequence[str], count: int | None = None) -> str:
    """Name some of them; one is named once. `count` is how many there are, if those are not all."""
    known = list(Counter(names))
    more = (len(known) if count is None else count) - MAX_NAMED
    return ", ".join(known[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
