"""The output of `whaul get`: a progress bar on a terminal, else JSON lines, and a summary at the end."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from whaul.bulk.run import Outcome, Run
from whaul.terminal import visible, visible_json

REFRESH = 0.2
"""Seconds between updates of the bar: however fast files arrive, showing them costs the same."""
MAX_FAILURES = 20
"""Failures that people are shown one by one; the summary counts them all."""


class Display:
    """Shows a run: JSON on standard output, everything for people on standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._has_bar = self._console.is_terminal and not (as_json and sys.stdout.isatty())
        self._started = time.monotonic()
        self._failures = 0

    def show(self, outcome: Outcome, location: Callable[[str], dict[str, str]]) -> None:
        """Show the outcome of one id. Raises `OSError` if standard output is closed or full."""
        if self._as_json:
            _print(_document(outcome, location))
        elif outcome.error is not None:
            self._failures += 1
            if self._failures <= MAX_FAILURES:
                self._tell(f"{outcome.media_id}: {outcome.error.code}: {outcome.error.message}")
            elif self._failures == MAX_FAILURES + 1:
                self._tell("More failures are only counted; --json lists them all.")

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
        return f"{told} {tally.failed} failed" if tally.failed else told

    def summary(self, run: Run, total: int | None) -> None:
        """Show the totals."""
        tally, seconds = run.tally, time.monotonic() - self._started
        left = None if total is None else total - tally.done
        if self._as_json:
            document = {
                "stored": tally.stored,
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
        told = f"{tally.stored} stored ({decimal(tally.bytes)}), {tally.skipped} skipped, {tally.failed} failed"
        if tally.errors:
            told += f" ({', '.join(f'{count} {code}' for code, count in tally.errors.most_common())})"
        self._tell(f"{told}, in {seconds:.1f} s.")
        if run.stopped is not None:
            rest = "the rest was" if left is None else f"{left} were"
            self._tell(f"Stopped: {run.stopped}")
            self._tell(f"{rest} not tried. Run the same command again to continue.")
        elif tally.failed:
            self._tell("Run the same command again to retry the failed ones.")

    def _tell(self, text: str) -> None:
        """Print a line on standard error, above the bar. If that fails, the run goes on."""
        with suppress(OSError):
            self._console.print(visible(text))


async def _repeated(work: Callable[[], None]) -> None:
    while True:
        work()
        await asyncio.sleep(REFRESH)


def _document(outcome: Outcome, location: Callable[[str], dict[str, str]]) -> dict[str, object]:
    document: dict[str, object] = {"mediaId": outcome.media_id, "status": outcome.status}
    if outcome.name is not None:
        document |= location(outcome.name)
    if outcome.info is not None:
        info = outcome.info
        document |= {"fileSize": info.file_size, "mimeType": info.mime_type, "sha256": info.sha256.hex()}
    if outcome.error is not None:
        error = outcome.error
        document["error"] = {"code": error.code, "message": error.message, "mayPass": outcome.may_pass}
    return document


def _print(document: dict[str, object]) -> None:
    """Print one line at once, so that a killed run has reported what it did."""
    line = visible_json(msgspec.json.encode(document).decode())
    sys.stdout.buffer.write(f"{line}\n".encode())
    sys.stdout.buffer.flush()
