"""What is logged, and what never is."""

import io
import json
import logging
import logging.config
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from whaul.telemetry import logs
from whaul.telemetry.call import Call, Hop, Hops

SECRET = "EAAG-s3cr3t-t0ken"


@pytest.fixture
def restored() -> Iterator[None]:
    """Put logging back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_call_is_told_with_all_that_is_known_of_it() -> None:
    call = Call(
        "id-1",
        operation="GetWhatsAppMessageMedia",
        client="203.0.113.7",
        access_key_id="AKIA1",
        caller="crm",
        phone_number_id="phone-number-id-1",
        media_id="42",
        bytes=1000,
        hops=Hops(
            [Hop("put", 1.0, 9.0), Hop("retry", 1.0, 2.0), Hop("describe", 1.0, 1.1234567), Hop("put", 2.0, 2.5)]
        ),
    )
    assert logs.call_line(call, 200, 0.98765432) == {
        "request_id": "id-1",
        "operation": "GetWhatsAppMessageMedia",
        "outcome": "ok",
        "status": 200,
        "access_key_id": "AKIA1",
        "caller": "crm",
        "client": "203.0.113.7",
        "phone_number_id": "phone-number-id-1",
        "media_id": "42",
        "bytes": 1000,
        "seconds": 0.987654,
        "describe_seconds": 0.123457,
        "put_seconds": 0.5,
    }


def test_what_is_not_known_of_a_call_is_left_out() -> None:
    call = Call("id-1", error="UnknownOperationException", message="There is no operation at this path.")
    assert logs.call_line(call, 404, 0.0) == {
        "request_id": "id-1",
        "outcome": "UnknownOperationException",
        "status": 404,
        "seconds": 0.0,
        "message": "There is no operation at this path.",
    }


def test_a_hop_is_measured_however_it_ends() -> None:
    call = Call("id")
    with pytest.raises(ZeroDivisionError), call.hops.timed("put"):
        raise ZeroDivisionError
    assert call.hops.seconds()["put"] >= 0
    assert call.hops[0].error == "ZeroDivisionError"


class ForeignError(Exception):
    pass


def fail() -> None:
    try:
        raise ForeignError(f"https://host/?access_token={SECRET}")
    except ForeignError as error:
        try:
            {}[SECRET]
        except KeyError:
            raise RuntimeError(f"Bearer {SECRET}") from error


def test_an_unforeseen_error_is_told_by_its_classes_and_places_only() -> None:
    with pytest.raises(RuntimeError) as caught:
        fail()
    told = logs.without_text(caught.value)
    assert SECRET not in "".join(told)
    assert [line.split(" at ")[0] for line in told] == ["builtins.RuntimeError", f"{__name__}.ForeignError"]
    assert all(re.fullmatch(r"\S+ at (test_logs\.py:\d+( > )?)+", line) for line in told)


def test_an_unforeseen_error_without_an_explicit_cause_tells_its_context() -> None:
    def fail_twice() -> None:
        try:
            raise KeyError(SECRET)
        except KeyError:
            raise ValueError("second")  # noqa: B904 - that is what is tested

    with pytest.raises(ValueError, match="second") as caught:
        fail_twice()
    assert [line.split(" at ")[0] for line in logs.without_text(caught.value)] == [
        "builtins.ValueError",
        "builtins.KeyError",
    ]


def test_a_chain_that_bites_its_tail_has_an_end() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert len(logs.without_text(first)) == logs.MAX_CHAIN


@pytest.mark.usefixtures("restored")
def test_lines_are_json_with_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    log = structlog.get_logger()
    log.info("call", media_id="42", odd=object, text="ä\n")
    log.debug("not this one")
    (line,) = written(capsys)
    assert (line["event"], line["level"], line["media_id"], line["text"]) == ("call", "info", "42", "ä\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", str(line["timestamp"]))
    assert line["odd"] == "<class 'object'>"


@pytest.mark.usefixtures("restored")
def test_a_line_begins_with_time_level_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger().warning("call", access_key_id="A", status=404)
    logging.getLogger("_granian").error("from the server")
    for line in written(capsys):
        assert list(line)[:3] == ["timestamp", "level", "event"]


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("level", ["warning", "error"])
def test_the_start_and_the_stop_are_logged_at_every_level(capsys: pytest.CaptureFixture[str], level: str) -> None:
    logs.configure(level, "json")
    logs.lifecycle("ready", region="us-east-1")
    logging.getLogger("_granian").info("Listening at: %s", "http://127.0.0.1:8080")
    logging.getLogger("_granian").info("Granian shutdown completed, see ya!")
    structlog.get_logger().info("not this one")
    lines = [(line["event"], line["level"]) for line in written(capsys)]
    assert lines == [("ready", "info"), ("Listening at: http://127.0.0.1:8080", "info"), ("stopped", "info")]


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(("workers", "named"), [(1, {}), (2, {"worker": os.getpid()})])
def test_one_of_several_workers_says_which(
    capsys: pytest.CaptureFixture[str], workers: int, named: dict[str, int]
) -> None:
    logs.configure("info", "json", workers=workers)
    structlog.get_logger().info("ours")
    logging.getLogger("_granian").info("the server's")
    for line in written(capsys):
        assert {name: line[name] for name in line if name not in {"timestamp", "level", "event"}} == named
    logs.configure("info", "console", workers=workers)
    structlog.get_logger().info("ours")
    assert (f"[{os.getpid()}] ours" in capsys.readouterr().out) == (workers > 1)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(("log_format", "is_json"), [("auto", True), ("json", True), ("console", False)])
def test_away_from_a_terminal_lines_are_json_unless_wished_otherwise(
    capsys: pytest.CaptureFixture[str], log_format: str, is_json: bool
) -> None:
    logs.configure("info", log_format)
    structlog.get_logger().info("ready")
    out = capsys.readouterr().out
    assert out.startswith("{") == is_json
    assert "ready" in out


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_error_that_comes_with_a_librarys_line_is_told_without_its_text(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    logs.configure("info", log_format)
    try:
        fail()
    except RuntimeError as error:
        logging.getLogger("asyncio").exception("Task exception was never retrieved\nfuture: %r", error)
        logging.getLogger("asyncio").error("and again", exc_info=(type(error), error, error.__traceback__))
        structlog.get_logger().error("ours", exc_info=True)
    out = capsys.readouterr().out
    assert SECRET not in out
    assert out.count("builtins.RuntimeError at test_logs.py") == 3


@pytest.mark.usefixtures("restored")
def test_on_a_terminal_what_others_wrote_is_visible_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "console")
    structlog.get_logger().info("call", caller="Evil\x1b[2J\r\nforged\u202e", name="متجر 🛒", listed=["\x1b[2J"])
    logging.getLogger("_granian").warning("from %s", "\x1b]0;pwn\x07\nforged")
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert r"Evil\x1b[2J\r\nforged\u202e" in out
    assert r"\x1b]0;pwn\x07\nforged" in out
    assert "متجر 🛒" in out
    assert not any(steering in out for steering in ("\x1b]", "\x1b[2J", "\u202e", "\r"))


CALL = {"operation": "GetWhatsAppMessageMedia", "request_id": "9d2a5c0e", "client": "203.0.113.7", "seconds": 0.0123}
PROVEN = {"access_key_id": "AKIA1", "caller": "inbox", "phone_number_id": "phone-number-id-1", "media_id": "42"}


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            CALL | PROVEN | {"outcome": "ok", "status": 200, "bytes": 198_000, "get_seconds": 0.01},
            "info    GetWhatsAppMessageMedia 200 12 ms inbox 42 198 kB",
        ),
        (
            CALL
            | PROVEN
            | {"outcome": "ResourceNotFoundException", "status": 404, "message": "Meta does not know it."},
            "info    GetWhatsAppMessageMedia 404 ResourceNotFoundException 12 ms inbox 42 Meta does not know it.",
        ),
        (
            CALL | {"outcome": "UnrecognizedClientException", "status": 403, "claimed_access_key_id": "A\x1b[2J"},
            r"info    GetWhatsAppMessageMedia 403 UnrecognizedClientException 12 ms 203.0.113.7 as A\x1b[2J",
        ),
        (
            {
                "request_id": "1",
                "outcome": "UnknownOperationException",
                "status": 404,
                "seconds": 0.0,
                "message": "No.",
            },
            "info    - 404 UnknownOperationException <1 ms - No.",
        ),
        (
            CALL | PROVEN | {"outcome": "ok", "status": 200, "seconds": 42.0, "bytes": 5},
            "info    {} 200 42.0 s inbox 42 5 B",
        ),
    ],
)
def test_on_a_terminal_a_call_is_one_line_that_begins_with_what_matters(
    capsys: pytest.CaptureFixture[str], fields: dict[str, object], line: str
) -> None:
    logs.configure("info", "console")
    structlog.get_logger().info("call", **fields)
    out = capsys.readouterr().out
    assert re.match(r"\d\d:\d\d:\d\d ", out)
    assert out[9:] == line.replace("{}", "GetWhatsAppMessageMedia") + "\n"


@pytest.mark.parametrize(
    ("environ", "has_colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
@pytest.mark.usefixtures("restored")
def test_colours_are_for_terminals_whose_users_want_them(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], has_colour: bool
) -> None:
    for name, value in ({"TERM": "xterm", "NO_COLOR": "", "FORCE_COLOR": ""} | environ).items():
        monkeypatch.setenv(name, value)
    ours, terminal = os.openpty()
    with open(terminal, "w", encoding="utf-8") as stdout:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", stdout)
        logs.configure("info", "auto")
        structlog.get_logger().error("call", **CALL, outcome="InternalServiceException", status=500)
        line = os.read(ours, 4096).decode()
    os.close(ours)
    assert ("\x1b[1;31merror   GetWhatsAppMessageMedia 500 InternalServiceException\x1b[0m 12 ms" in line) == has_colour
    assert ("\x1b" in line) == has_colour


@pytest.mark.usefixtures("restored")
def test_a_slow_reader_gets_every_line_of_an_output_that_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with ThreadPoolExecutor() as pool, open(ours, "rb") as reader, monkeypatch.context() as patch:  # noqa: PTH123
        with open(theirs, "w") as stdout:  # noqa: PTH123
            patch.setattr(sys, "stdout", stdout)
            logs.configure("info", "json")
            lines = pool.submit(reader.readlines)
            structlog.get_logger().info("call", padding="x" * 300_000)  # more than a pipe holds
        assert [len(json.loads(line)["padding"]) for line in lines.result()] == [300_000]


@pytest.mark.usefixtures("restored")
def test_an_output_that_takes_no_more_costs_the_lines_and_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = open("/dev/full", "w", encoding="ascii", buffering=1)  # noqa: PTH123, SIM115
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        logs.configure("info", "json")
        for _ in range(3):
            structlog.get_logger().info("call")
        logging.getLogger("_granian").warning("from the server")
    assert capsys.readouterr().err == "whaul: log lines are lost: No space left on device\n" * 2
    full.close()  # it has nothing left that would have to be written


@pytest.mark.usefixtures("restored")
def test_json_is_utf_8_whatever_the_terminal_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    logs.configure("info", "json")
    structlog.get_logger().info("call", caller="متجر 🛒")
    assert json.loads(raw.getvalue())["caller"] == "متجر 🛒"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw := io.BytesIO(), encoding="ascii"))
    logs.configure("info", "console")
    structlog.get_logger().info("call", caller="é")
    assert b"\\xe9" in raw.getvalue()
