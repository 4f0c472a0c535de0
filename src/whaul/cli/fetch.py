"""Runs `whaul get`: finds the phone number and the destination, shows progress, handles Ctrl-C."""

import asyncio
import errno
import math
import os
import signal
import stat
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer
import uvloop

from whaul.arns import Arns
from whaul.bulk import outcomes
from whaul.bulk.bandwidth import Bandwidth
from whaul.bulk.media_ids import MediaIds
from whaul.bulk.names import NameTemplate
from whaul.bulk.numbers import Numbers
from whaul.bulk.outcomes import Outcome
from whaul.bulk.places import s3_place
from whaul.bulk.report import Report
from whaul.bulk.run import Found, Place, Run
from whaul.bulk.wanted import Wanted
from whaul.cli import INTERRUPTED, output
from whaul.cli.failures import CommandError
from whaul.cli.progress import Display
from whaul.components import graph_client, http_client, open_registry, s3_store
from whaul.graph.media import MediaSource
from whaul.outbound.http import HttpClient
from whaul.settings import Settings
from whaul.storage.directory import Directory
from whaul.storage.s3_listing import S3Prefix

GRACE = 5.0
"""Seconds that transfers in progress may take to finish after an interrupt."""
MAX_EXCHANGE = 6 * 3600.0
"""Seconds for one file, however slow the line is, or `--bandwidth`."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the options say."""

    media_ids: list[str]
    from_file: str | None
    form: str | None
    phone_number_id: str | None
    to: str
    name: str
    concurrency: int
    bandwidth: str | None
    deadline: float | None
    report: str | None
    force: bool
    dry: bool
    as_json: bool


def fetch(settings: Settings, choices: Choices) -> int:
    """Fetch the ids, and those in the file. Returns the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_get(settings, choices))


async def _get(settings: Settings, choices: Choices) -> int:
    s3 = _usage("--to", lambda: s3_place(choices.to))
    names = _usage("--name", lambda: NameTemplate(choices.name))
    bandwidth = _usage("--bandwidth", lambda: Bandwidth.read(choices.bandwidth) if choices.bandwidth else None)
    ids = _ids(choices)
    display = Display(as_json=choices.as_json, dry=choices.dry)
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(open_registry(settings))
        numbers = Numbers(registry.accounts, Arns(settings.account_id, settings.region))
        await numbers.choose(choices.phone_number_id)
        if choices.from_file is None:
            _ = numbers.default  # else each id would say that it has none
        http = await stack.enter_async_context(http_client(settings, max_exchange=MAX_EXCHANGE))
        place = _place(settings, http, choices.to, s3)
        graph = graph_client(settings, http)
        report = stack.enter_context(_report(choices.report)) if choices.report is not None else None

        async def source(wanted: Wanted) -> Found:
            number = await numbers.of(wanted)
            media = MediaSource(graph, number.token, wanted.media_id, settings.max_file_size)
            return Found(media, number, number.token)

        def show(outcome: Outcome) -> None:
            document = outcomes.document(outcome, place.location)
            try:
                if report is not None:
                    report.write(document)
            except OSError as error:
                run.stop(f"the report cannot be written: {error.strerror}.")
            try:
                display.show(outcome, document)
            except BrokenPipeError:
                run.stop("standard output is no longer read.")
            except OSError as error:
                run.stop(f"standard output cannot be written: {error.strerror}.")

        run = Run(
            ids,
            source,
            place,
            extensions=settings.extensions,
            patience=choices.deadline or settings.deadline,
            deadline=choices.deadline or math.inf,
            on_outcome=show,
            on_pause=display.pause,
            force=choices.force,
            dry=choices.dry,
            names=names,
            bandwidth=bandwidth,
        )
        total = await ids.total()
        work = asyncio.ensure_future(run.run(choices.concurrency, total))
        interrupts = _Interrupts(run, work, display)
        async with display.progress(run, total):
            await asyncio.wait({work})
        if not work.cancelled():
            await work
        display.summary(run, total)
    if interrupts.count:
        return INTERRUPTED
    return int(run.stopped is not None or run.tally.failed > 0)


class _Interrupts:
    """Ctrl-C and SIGTERM: the first stops the run cleanly, the second at once."""

    def __init__(self, run: Run, work: "asyncio.Future[None]", display: Display) -> None:
        self.count = 0
        self._run = run
        self._work = work
        self._display = display
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._interrupt)

    def _interrupt(self) -> None:
        self.count += 1
        if self.count > 1:
            self._work.cancel()
            return
        self._display.finishing(self._run.under_way)
        self._run.stop("interrupted.")
        self._loop.call_later(GRACE, self._work.cancel)


def _place(settings: Settings, http: HttpClient, to: str, s3: tuple[str, str] | None) -> Place:
    if s3 is None:
        return Directory(Path(to), settings.extensions)
    return S3Prefix(s3_store(settings, http), *s3, settings.extensions)


def _usage(option: str, read: Callable[[], T]) -> T:
    """Read an option's value; what is wrong with it is wrong usage."""
    try:
        return read()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _ids(choices: Choices) -> MediaIds:
    file = _opened(choices.from_file) if choices.from_file is not None else None
    if file is not None and choices.report is not None and _is_same(choices.report, file):
        raise typer.BadParameter("this is the list itself, which would be emptied", param_hint="--report")
    return MediaIds(choices.media_ids, file, choices.form)


def _is_same(path: str, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))  # noqa: PTH116 - beside a descriptor
    except OSError:
        return False  # there is none yet


@contextmanager
def _report(path: str) -> Generator[Report]:
    try:
        report = _usage("--report", lambda: Report(path))
    except OSError as error:
        raise CommandError(f"--report: cannot write {path}: {error.strerror}") from None
    try:
        yield report
    finally:
        try:
            report.close()
        except OSError as error:
            raise CommandError(f"--report: cannot write {path}: {error.strerror}") from None


def _opened(path: str) -> int:
    source = "standard input" if path == "-" else path
    try:
        file = output.standard_input().fileno() if path == "-" else os.open(path, os.O_RDONLY)
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder; expected a file with media ids")
    except OSError as error:
        raise CommandError(f"--from-file: cannot read {source}: {error.strerror}") from None
    return file
