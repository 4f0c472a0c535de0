"""Refreshes what Meta says of linked accounts (names, ratings, statuses, ends of tokens) in the background.

A call is answered at once with what is stored. If that is older than `TTL`, the account is refreshed afterwards, by
one task at a time. After a failure the account is left alone for `TTL` too, and calls about it are marked as stale.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog

from whaul.errors import ApiError
from whaul.graph.client import GraphClient
from whaul.model import LinkedAccount
from whaul.operations.waba import read_account, with_token
from whaul.registry.accounts import Accounts
from whaul.telemetry import logs
from whaul.telemetry.call import Call

TTL: Final = timedelta(seconds=60)
MAX_RUNNING: Final = 2
PAUSE: Final = 0.6
"""Seconds between a refresh and the next one; with `MAX_RUNNING`, at most ten calls to Meta a second."""
MAX_TASKS: Final = 200
"""Accounts that wait or are being refreshed, so that a long list makes no burst. Others follow when next served."""
DEADLINE: Final = 30.0
"""Seconds for one refresh."""

log = structlog.get_logger()


class _Failure(NamedTuple):
    in_a_row: int
    at: datetime
    refreshed_at: datetime | None
    """The account's `refreshed_at` then. If it has changed since, someone else has refreshed the account."""


class Refreshes:
    """The refreshes of this process."""

    def __init__(
        self,
        accounts: Accounts,
        graph: GraphClient,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_end: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """`on_end` gets the outcome of each refresh: `ok`, or the code of an error."""
        self._accounts = accounts
        self._graph = graph
        self._now = now
        self._sleep = sleep
        self._on_end = on_end
        self._running = asyncio.Semaphore(MAX_RUNNING)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, _Failure] = {}

    def served(self, accounts: Iterable[LinkedAccount], call: Call) -> None:
        """Refresh the accounts that are out of date; mark the call as stale if that failed before."""
        now = self._now()
        for account in accounts:
            if _is_fresh(account, now):
                continue
            failure = self._failures.get(account.id)
            if failure is not None and failure.refreshed_at != account.refreshed_at:
                del self._failures[account.id]
                failure = None
            call.stale = call.stale or failure is not None
            pauses = failure is not None and now - failure.at < TTL
            if not pauses and account.id not in self._tasks and len(self._tasks) < MAX_TASKS:
                task = self._tasks[account.id] = asyncio.create_task(self._run(account))
                task.add_done_callback(lambda _, id_=account.id: self._tasks.pop(id_))  # type: ignore[misc]

    async def aclose(self) -> None:
        """Cancel the refreshes; what is stored stays as it is."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, account: LinkedAccount) -> None:
        async with self._running:
            await self._attempt(account)
            await self._sleep(PAUSE)

    async def _attempt(self, account: LinkedAccount) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                await self._refresh(account)
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it is logged and counted
            before = self._failures.get(account.id)
            in_a_row = before.in_a_row + 1 if before else 1
            self._failures[account.id] = _Failure(in_a_row, self._now(), account.refreshed_at)
            log.warning(
                "stale",
                account=account.id,
                refreshed_at=account.refreshed_at and account.refreshed_at.isoformat(),
                failures=in_a_row,
                error=error.message if isinstance(error, ApiError) else logs.without_text(error),
            )
            self._on_end(error.code if isinstance(error, ApiError) else type(error).__name__)
        else:
            self._failures.pop(account.id, None)
            self._on_end("ok")

    async def _refresh(self, account: LinkedAccount) -> None:
        current = await self._accounts.find(account.id)
        if current is not None and not _is_fresh(current, self._now()):  # else unlinked, or refreshed by someone else
            await refresh(self._accounts, self._graph, current)


async def refresh(accounts: Accounts, graph: GraphClient, account: LinkedAccount) -> None:
    """Ask Meta about an account, with its own token, and record the answer. Raises ApiError."""
    target = await accounts.linked_account(account.id)
    if target is not None:
        found = await read_account(graph, target.token, target.meta_id)
        await accounts.refresh(account, await with_token(graph, target.token, found, account))


def _is_fresh(account: LinkedAccount, now: datetime) -> bool:
    return account.refreshed_at is not None and now - account.refreshed_at < TTL
