"""Runs `whaul get`: finds the phone number and the destination, shows progress, handles Ctrl-C."""

import asyncio
import os
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import typer
import uvloop

from whaul.arns import Arns
from whaul.bulk.media_ids import MediaIds
from whaul.bulk.run import Outcome, Place, Run
from whaul.cli import INTERRUPTED, output
from whaul.cli.failures import CommandError
from whaul.cli.progress import Display
from whaul.components import graph_client, http_client, open_registry, s3_store
from whaul.errors import ApiError
from whaul.graph.media import MediaSource
from whaul.model import PhoneNumber
from whaul.outbound.http import HttpClient
from whaul.settings import Settings
from whaul.storage.directory import Directory
from whaul.storage.naming import object_key
from whaul.storage.s3_listing import S3Prefix

GRACE = 5.0
"""Seconds that transfers in progress may take to finish after an interrupt."""

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


def fetch(
    settings: Settings,
    media_ids: list[str],
    from_file: str | None,
    *,
    phone_number_id: str,
    to: str,
    concurrency: int,
    force: bool,
    as_json: bool,
) -> int:
    """Fetch the ids, and those in the file. Returns the exit code."""
    file = _opened(from_file) if from_file is not None else None
    work = _get(
        settings,
        MediaIds(media_ids, file),
        Display(as_json=as_json),
        phone_number_id=phone_number_id,
        to=to,
        concurrency=concurrency,
        force=force,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _get(
    settings: Settings,
    ids: MediaIds,
    display: Display,
    *,
    phone_number_id: str,
    to: str,
    concurrency: int,
    force: bool,
) -> int:
    number = await _number(settings, phone_number_id)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_client(settings))
        place = _place(settings, http, to)
        graph, token = graph_client(settings, http), number.token

        def source(media_id: str) -> MediaSource:
            return MediaSource(graph, token, media_id, settings.max_file_size)

        def show(outcome: Outcome) -> None:
            try:
                display.show(outcome, place.location)
            except BrokenPipeError:
                run.stop("standard output is no longer read.")
            except OSError as error:
                run.stop(f"standard output cannot be written: {error.strerror}.")

        run = Run(
            ids,
            source,
            place,
            extensions=settings.extensions,
            deadline=settings.deadline,
            force=force,
            on_outcome=show,
        )
        total = await ids.total()
        work = asyncio.ensure_future(run.run(concurrency, total))
        interrupts = _Interrupts(run, work)
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

    def __init__(self, run: Run, work: "asyncio.Future[None]") -> None:
        self.count = 0
        self._run = run
        self._work = work
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._interrupt)

    def _interrupt(self) -> None:
        self.count += 1
        if self.count > 1:
            self._work.cancel()
            return
        self._run.stop("interrupted.")
        self._loop.call_later(GRACE, self._work.cancel)


async def _number(settings: Settings, given: str) -> PhoneNumber:
    phone_number_id = Arns(settings.account_id, settings.region).read_phone_number(given)
    async with open_registry(settings) as registry:
        number = None if phone_number_id is None else await registry.accounts.phone_number(phone_number_id)
    if number is None:
        raise CommandError(f"no phone number {given} is linked; `whaul accounts` lists what is")
    return number


def _place(settings: Settings, http: HttpClient, to: str) -> Place:
    if to and "://" not in to:
        return Directory(Path(to), settings.extensions)
    match = _S3.fullmatch(to)
    if not match:
        raise typer.BadParameter("expected s3://bucket/prefix, or a directory", param_hint="--to")
    bucket, prefix = match[1], match[2] or ""
    try:
        object_key(prefix, "0" * 100, ".ext", exact=False)
    except ApiError as error:
        raise typer.BadParameter(error.message, param_hint="--to") from None
    return S3Prefix(s3_store(settings, http), bucket, prefix, settings.extensions)


def _opened(path: str) -> int:
    try:
        return output.standard_input().fileno() if path == "-" else os.open(path, os.O_RDONLY)
    except OSError as error:
        source = "standard input" if path == "-" else path
        raise CommandError(f"cannot read {source}: {error.strerror}") from None
