"""Names, ratings and statuses of linked accounts, asked for again at Meta in the background.

A call is answered at once with what is known; when that is older than `FRESH`, the account is asked about afterwards,
few at a time, so that a long list does not become a burst of calls to Meta.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from whaul.errors import ApiError
from whaul.graph.accounts import AccountCalls
from whaul.registry.accounts import Accounts
from whaul.registry.records import LinkedAccount, NewPhoneNumber
from whaul.telemetry import logs
from whaul.telemetry.call import Call

FRESH: Final = timedelta(seconds=60)
"""How old what Meta said may be before it is asked again."""
LONGEST_REST: Final = timedelta(hours=1)
"""An account that Meta refuses is left alone for `FRESH`, then twice as long each time, up to this."""
AT_ONCE: Final = 2
PAUSE: Final = 0.4
"""Seconds between two refreshes of one worker: with `AT_ONCE` workers, ten calls to Meta a second at the most."""
MOST_WAITING: Final = 200
"""Accounts that wait for a refresh; those beyond are taken when they are served again."""
MOST_FAILING: Final = 10_000
"""Failing accounts that are remembered."""
DEADLINE: Final = 30.0
"""Seconds for one refresh."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Failing:
    failures: int
    again_at: datetime
    refreshed_at: datetime | None
    """The account's at the failure; another one tells that Meta answered since, to another process or a new token."""


class Refreshes:
    """The accounts that wait for a refresh, and those that Meta did not tell of."""

    def __init__(
        self,
        accounts: Accounts,
        graph: AccountCalls,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_end: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """`on_end` is told how each refresh ended: `ok`, or the code of an error."""
        self._accounts = accounts
        self._graph = graph
        self._now = now
        self._sleep = sleep
        self._on_end = on_end
        self._waiting: deque[LinkedAccount] = deque()
        self._ids: set[str] = set()
        """Of those that wait or are under way."""
        self._failing: OrderedDict[str, _Failing] = OrderedDict()
        self._workers: set[asyncio.Task[None]] = set()

    def served(self, accounts: Iterable[LinkedAccount], call: Call) -> None:
        """Take note that a call is answered with what is known of accounts, and refresh what is old.

        The call is marked stale when that is old because Meta could not tell.
        """
        now = self._now()
        for account in accounts:
            if _is_fresh(account, now):
                continue
            failing = self._failing.get(account.id)
            if failing is not None and failing.refreshed_at != account.refreshed_at:
                del self._failing[account.id]
                failing = None
            call.stale = call.stale or failing is not None
            rests = failing is not None and now < failing.again_at
            if not rests and account.id not in self._ids and len(self._waiting) < MOST_WAITING:
                self._ids.add(account.id)
                self._waiting.append(account)
        while len(self._workers) < min(AT_ONCE, len(self._waiting)):
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def aclose(self) -> None:
        """Break off what is under way; what is known stays as it is."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            account = self._waiting.popleft()
            try:
                async with asyncio.timeout(DEADLINE):
                    await self._refresh(account)
            except Exception as error:  # noqa: BLE001 - told, and the worker goes on with the others
                self._failed(account, error)
            else:
                self._failing.pop(account.id, None)
                self._on_end("ok")
            finally:
                self._ids.discard(account.id)
            await self._sleep(PAUSE)

    async def _refresh(self, account: LinkedAccount) -> None:
        current = await self._accounts.account(account.id)
        if current is None or _is_fresh(current, self._now()):  # unlinked, or refreshed by somebody else, meanwhile
            return
        token = await self._accounts.credentials(account.id)
        if token is None:
            return
        found = await self._graph.account(token, account.meta_waba_id)
        numbers = (
            NewPhoneNumber(n.meta_id, n.display_phone_number, n.verified_name, n.quality_rating, n.status)
            for n in found.phone_numbers
        )
        expires_at = await self._graph.token_expiry(token, current.token_expires_at)
        await self._accounts.refresh(account.id, found.name, numbers, expires_at)

    def _failed(self, account: LinkedAccount, error: Exception) -> None:
        known = self._failing.pop(account.id, None)
        failures = known.failures + 1 if known else 1
        rest = min(FRESH * 2 ** min(failures - 1, 10), LONGEST_REST)
        self._failing[account.id] = _Failing(failures, self._now() + rest, account.refreshed_at)
        if len(self._failing) > MOST_FAILING:
            self._failing.popitem(last=False)
        log.warning(
            "stale",
            account=account.id,
            refreshed_at=account.refreshed_at.isoformat() if account.refreshed_at else None,
            failures=failures,
            error=error.message if isinstance(error, ApiError) else logs.without_text(error),
        )
        self._on_end(error.code if isinstance(error, ApiError) else type(error).__name__)


def _is_fresh(account: LinkedAccount, now: datetime) -> bool:
    return account.refreshed_at is not None and now - account.refreshed_at < FRESH
