"""The output of `whaul get`: a progress bar on a terminal, else JSON lines, and a summary at the end."""

import asyncio
import math
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import msgspec
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from whaul.bulk.outcomes import Outcome
from whaul.bulk.run import Run
from whaul.bulk.throttle import Pause
from whaul.cli import output
from whaul.terminal import visible, visible_json

REFRESH = 0.2
"""Seconds between updates of the bar: however fast files arrive, showing them costs the same."""
MAX_FAILURES = 20
"""Failures that people are shown one by one; the summary counts them all."""


class Display:
    """Shows a run: JSON on standard output, everything for people on standard error."""

    def __init__(self, *, as_json: bool, dry: bool = False) -> None:
        self._as_json = as_json
        self._dry = dry
        self._console = output.console(stderr=True, markup=False, soft_wrap=True)
        self._has_bar = self._console.is_terminal and not (as_json and sys.stdout.isatty())
        self._started = time.monotonic()
        self._failures = 0

    def show(self, outcome: Outcome, document: Mapping[str, object]) -> None:
        """Show the outcome of one id. Raises `OSError` if standard output is closed or full."""
        if self._as_json:
            _print(document)
        elif outcome.status == "planned":
            place = document.get("path") or f"s3://{document['bucket']}/{document['key']}"
            self._tell(f"{outcome.media_id}: {place} ({decimal(outcome.info.file_size if outcome.info else 0)})")
        elif outcome.error is not None:
            self._failures += 1
            if self._failures <= MAX_FAILURES:
                self._tell(f"{outcome.media_id}: {outcome.error.code}: {outcome.error.message}")
            elif self._failures == MAX_FAILURES + 1:
                self._tell("More failures are only counted; --json lists them all.")

    def pause(self, pause: Pause) -> None:
        """Say that the run waits for Meta."""
        if pause.seconds < 1:
            return
        until = f"{datetime.now().astimezone() + timedelta(seconds=pause.seconds):%H:%M:%S}"
        asked = "Meta asks to wait" if pause.is_stated else "Meta throttles the account; waiting"
        self._tell(f"{asked} {math.ceil(pause.seconds)} s. The run goes on at {until}.")

    def finishing(self, files: int) -> None:
        """Say what happens after an interrupt."""
        self._tell(f"Finishing {files} file{'' if files == 1 else 's'}; Ctrl-C again stops at once.")

    @asynccontextmanager
    async def progress(self, run: Run, total: int | None) -> AsyncGenerator[None]:
        """Show a bar while the block runs, on a terminal."""
        if not self._has_bar:
            yield
            return
        bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
        )
        task = bar.add_task("", total=total)

        def update() -> None:
            bar.update(task, completed=run.tally.done, description=self._speed(run), refresh=True)

        with bar:
            refreshing = asyncio.create_task(_repeated(update))
            try:
                yield
            finally:
                refreshing.cancel()
                with suppress(asyncio.CancelledError):
                    await refreshing
                update()

    def _speed(self, run: Run) -> str:
        seconds = max(time.monotonic() - self._started, 0.001)
        tally = run.tally
        told = f"{tally.done / seconds:.0f}/s {decimal(int(tally.bytes / seconds))}/s"
        told += f" {tally.failed} failed" if tally.failed else ""
        waiting = math.ceil(run.seconds_to_wait)
        return f"{told} waiting for Meta: {waiting} s" if waiting else told

    def summary(self, run: Run, total: int | None) -> None:
        """Show the totals."""
        tally, seconds = run.tally, time.monotonic() - self._started
        left = None if total is None else total - tally.done
        if self._as_json:
            document = {
                "stored": tally.stored,
                **({"planned": tally.planned} if self._dry else {}),
                "skipped": tally.skipped,
                "failed": tally.failed,
                "left": left if run.stopped is not None else 0,
                "bytes": tally.bytes,
                "seconds": round(seconds, 3),
                "errors": dict(tally.errors),
                "stopped": run.stopped,
            }
            with suppress(OSError):
                _print({"summary": document})
        done = f"{tally.planned} would be stored" if self._dry else f"{tally.stored} stored"
        told = f"{done} ({decimal(tally.bytes)}), {tally.skipped} skipped, {tally.failed} failed"
        if tally.errors:
            told += f" ({', '.join(f'{count} {code}' for code, count in tally.errors.most_common())})"
        self._tell(f"{told}, in {seconds:.1f} s.")
        if run.stopped is not None:
            rest = "the rest was" if left is None else f"{left} {'was' if left == 1 else 'were'}"
            self._tell(f"Stopped: {run.stopped}")
            self._tell(f"{rest} not tried. Run the same command again to continue.")
        elif tally.may_pass == tally.failed > 0:
            self._tell("Run the same command again to retry the failed ones.")
        elif tally.may_pass:
            self._tell(f"Run the same command again to retry {tally.may_pass} of the failed ones; the others stay so.")
        elif tally.failed:
            self._tell("The failed ones would fail again: see what is said of each.")

    def _tell(self, text: str) -> None:
        """Print a line on standard error, above the bar. If that fails, the run goes on."""
        with suppress(OSError):
            self._console.print(visible(text))


async def _repeated(work: Callable[[], None]) -> None:
    while True:
        work()
        await asyncio.sleep(REFRESH)


def _print(document: Mapping[str, object]) -> None:
    """Print one line at once, so that a killed run has reported what it did."""
    line = visible_json(msgspec.json.encode(document).decode())
    sys.stdout.buffer.write(f"{line}\n".encode())
    sys.stdout.buffer.flush()
