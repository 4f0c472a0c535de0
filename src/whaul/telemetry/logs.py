"""Structured logs on standard output: a line for each call and for whatever an operator must know.

Nothing secret is ever handed to a logger; a test searches all output for tokens, signed URLs and secret keys.
"""

import io
import logging
import logging.config
import os
import select
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final, TextIO, cast

import msgspec
import structlog

from whaul.telemetry.call import Call
from whaul.telemetry.console import ConsoleRenderer
from whaul.terminal import takes_colour, visible_json

MAX_CHAIN = 8
"""Errors in one description, each the cause of the one before."""

QUIET = 60.0
"""Seconds between two messages about a log that cannot be written."""

SERVER: Final = "_granian"
"""The logger of the server below us: what it says of its start and stop stays at every level."""
PLAIN_WORDS: Final = {"Shutting down granian": "stopping", "Granian shutdown completed, see ya!": "stopped"}
"""What we call some of its events."""

_encoder = msgspec.json.Encoder(enc_hook=repr)


def configure(level: str, log_format: str, *, workers: int = 1) -> None:
    """Set up logging for this process, in one form with the server's own messages.

    If it is one of several `workers`, each line says which.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # JSON is UTF-8 whatever the terminal's own character set is: RFC 8259, section 8.1.
        encoding = sys.stdout.encoding if _is_console(log_format) else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    structlog.configure(
        processors=_processors(log_format, workers),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", LogOutput())),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(server_logging(level, log_format, workers=workers))


def lifecycle(event: str, **fields: object) -> None:
    """Log a step of the server's start or stop, whatever the level is."""
    structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger("info")).info(event, **fields)


class LogOutput(io.TextIOBase):
    """Standard output for log lines, each written whole.

    If it cannot be written, because the disk is full or the reader has gone, the lines are lost and nothing else:
    calls are answered, and standard error says so now and then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told = float("-inf")

    def write(self, text: str) -> int:
        """Write, if it can be written."""
        buffer = sys.stdout.buffer
        # Past the buffer, which would keep what it could not write, and fail with it whenever it is flushed again:
        # when a process is started, and at the end of this one.
        output = getattr(buffer, "raw", buffer)
        rest = memoryview(text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
        try:
            while rest:
                written = output.write(rest)
                if written is None:  # it is full, and does not block by itself
                    select.select([], [output], [])
                rest = rest[written or 0 :]
        except OSError as error:
            self._tell(error)
        return len(text)

    def _tell(self, error: OSError) -> None:
        if time.monotonic() - self._told < QUIET:
            return
        self._told = time.monotonic()
        with suppress(OSError):
            print(f"whaul: log lines are lost: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201 - no log


def server_logging(level: str, log_format: str, *, workers: int = 1) -> dict[str, Any]:
    """Configure the standard library's logging to write lines like ours."""
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _in_plain_words,
            *_processors(log_format, workers),
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": formatter},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": LogOutput(), "formatter": "structured"}},
        # In place of Granian's own handlers.
        "loggers": {SERVER: {"level": "DEBUG" if level == "debug" else "INFO", "propagate": True}},
        # Below warnings libraries say too much: botocore's debug lines hold what it signs, with the signature.
        "root": {"level": "WARNING", "handlers": ["stdout"]},
    }


def _processors(log_format: str, workers: int) -> list[Any]:
    form: Any = structlog.processors.JSONRenderer(_json)
    if _is_console(log_format):
        form = ConsoleRenderer(colours=takes_colour(sys.stdout))
    return [_headed({"worker": os.getpid()} if workers > 1 else {}), _without_traceback, form]


def _headed(worker: Mapping[str, int]) -> Callable[[object, str, dict[str, Any]], dict[str, Any]]:
    """Begin an event with what every line has."""

    def headed(_logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {"timestamp": time, "level": method, "event": event.pop("event", ""), **worker, **event}

    return headed


def _in_plain_words(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    return event | {"event": PLAIN_WORDS.get(event["event"], event["event"])}


def _is_console(log_format: str) -> bool:
    return log_format == "console" or (log_format == "auto" and sys.stdout.isatty())


def _without_traceback(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Describe an exception of a library's line without its text, which may hold a secret."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if not isinstance(error, BaseException):
        return event
    # asyncio's lines go on with the `repr` of the task, which holds that of the exception.
    return event | {"event": str(event.get("event", "")).partition("\n")[0], "error": without_text(error)}


def call_line(call: Call, status: int, seconds: float) -> Mapping[str, object]:
    """The fields of a call's log line, without those that are unknown."""
    fields = {
        "request_id": call.request_id,
        "trace_id": call.trace_id,
        "operation": call.operation,
        "outcome": call.error or "ok",
        "status": status,
        "access_key_id": call.access_key_id,
        "claimed_access_key_id": call.claimed_access_key_id,
        "caller": call.caller,
        "client": call.client,
        "phone_number_id": call.phone_number_id,
        "media_id": call.media_id,
        "bytes": call.bytes,
        "stale": call.stale or None,
        "seconds": round(seconds, 6),
        **{f"{hop}_seconds": round(duration, 6) for hop, duration in call.hops.seconds().items()},
        "message": call.message,
    }
    return {name: value for name, value in fields.items() if value is not None}


def without_text(error: BaseException) -> list[str]:
    """Describe an unexpected error by classes and places only: its text may hold URLs or tokens."""
    chain: list[str] = []
    link: BaseException | None = error
    while link is not None and len(chain) < MAX_CHAIN:
        frames = traceback.extract_tb(link.__traceback__)
        places = " > ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames)
        chain.append(f"{type(link).__module__}.{type(link).__qualname__} at {places}")
        link = link.__cause__ or link.__context__
    return chain


def _json(event: Any, **_options: Any) -> str:
    return visible_json(_encoder.encode(event).decode())
