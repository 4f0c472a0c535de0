"""The checks of `whaul doctor` that somebody ran: the latest ones, for everybody who looks."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from whaul.doctor import Doctor, Finding, Outcome
from whaul.settings import Settings

LIMIT: Final = 60.0
"""Seconds for all checks: whoever asked waits for them."""


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found."""

    at: datetime
    seconds: float
    bucket: str | None
    findings: Sequence[Finding]
    is_whole: bool
    """Whether the time was enough for all checks."""

    def count(self, outcome: Outcome) -> int:
        """Count the checks that ended so."""
        return sum(finding.outcome is outcome for finding in self.findings)


class Checkups:
    """One runs at a time: each asks Meta, S3 and the database."""

    def __init__(self, limit: float = LIMIT) -> None:
        self.latest: Checkup | None = None
        self.limit = limit
        self._running = False

    async def run(self, settings: Settings, bucket: str | None) -> bool:
        """Make the checks; False if somebody else's are under way."""
        if self._running:
            return False
        self._running = True
        started, findings, is_whole = time.monotonic(), list[Finding](), False
        try:
            async with asyncio.timeout(self.limit), aclosing(self._doctor(settings).findings(bucket)) as found:
                async for finding in found:
                    findings.append(finding)
            is_whole = True
        except TimeoutError:
            pass  # what was found until then is shown, and that it is not all
        finally:
            self._running = False
        self.latest = Checkup(datetime.now(UTC), time.monotonic() - started, bucket, findings, is_whole)
        return True

    @staticmethod
    def _doctor(settings: Settings) -> Doctor:
        return Doctor(settings, lambda: datetime.now(UTC))
