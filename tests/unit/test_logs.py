"""What is logged, and what never is."""

import io
import json
import logging
import logging.config
import re
import sys
from collections.abc import Iterator

import pytest
import structlog

from whaul.telemetry import logs
from whaul.telemetry.call import Call

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
        seconds={"describe": 0.1234567, "put": 0.5},
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
    with pytest.raises(ZeroDivisionError), call.timed("put"):
        raise ZeroDivisionError
    assert call.seconds["put"] >= 0


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
def test_the_servers_own_messages_take_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    logging.getLogger("_granian").warning("worker %s", 1)
    logging.getLogger("_granian").info("not this one")
    (line,) = written(capsys)
    assert (line["event"], line["level"]) == ("worker 1", "warning")


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
    with pytest.raises(OSError, match="No space left"):
        full.close()


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
