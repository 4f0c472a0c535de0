"""What a command says when it fails, whatever fails: one message, no secret, and where it was under `--debug`."""

import errno
import sqlite3

import pytest

from whaul.cli import failures
from whaul.cli.failures import CommandError
from whaul.errors import DependencyException
from whaul.registry.errors import RegistryUnavailableError
from whaul.settings import SettingsError

SECRET = "EAAGs3cr3tT0ken"


def said(error: BaseException, capsys: pytest.CaptureFixture[str], *, debug: bool = False) -> str:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - any may be raised
        failures.report(raised, debug=debug)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert SECRET not in printed.err
    return printed.err


class RustPanicError(BaseException):
    """As Rust libraries raise when they panic."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"invalid header value: Bearer {SECRET}"),
        KeyError(SECRET),
        RustPanicError(SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
        UnicodeEncodeError("ascii", SECRET + "é", 15, 16, "ordinal not in range"),
        RecursionError(),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_what_nobody_foresaw_is_one_line_and_its_place_is_shown_on_demand(
    capsys: pytest.CaptureFixture[str], error: BaseException, *, debug: bool
) -> None:
    first, *others = said(error, capsys, debug=debug).splitlines()
    assert first.startswith(f"whaul: unexpected error: {type(error).__name__} at test_failures.py:")
    assert "--debug" in first
    assert ("Traceback (most recent call last):" in others) == debug
    assert any("test_failures.py" in line and "in said" in line for line in others) == debug


def test_the_causes_are_shown_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as first:
            raise ValueError(SECRET) from first
    except ValueError as second:
        failures.report(second, debug=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(("Traceback", "builtins"))] == [
        "Traceback (most recent call last):",
        "builtins.KeyError",
        "Traceback (most recent call last):",
        "builtins.ValueError",
    ]


def test_what_the_system_refuses_is_said_with_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/var/lib/whaul\x1b[2J")
    assert said(error, capsys) == "whaul: No space left on device: /var/lib/whaul\\x1b[2J; --debug shows where\n"


def test_whoever_may_only_read_the_database_is_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    error = RegistryUnavailableError()
    error.__cause__ = sqlite3.OperationalError("attempt to write a readonly database")
    assert "may read the database, but not write to it. Check WHAUL_DATABASE_URL" in said(error, capsys)


def test_a_missing_package_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the Python package boto3 is not" in said(
        ModuleNotFoundError("No module named 'boto3'", name="boto3"), capsys
    )


@pytest.mark.parametrize(
    "error",
    [CommandError("no\nwhaul: forged\x1b[2J"), DependencyException("no\nwhaul: forged\x1b[2J")],
)
def test_a_message_is_one_line_of_visible_text(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(error, capsys) == "whaul: no\\nwhaul: forged\\x1b[2J\n"


def test_what_the_database_said_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = RegistryUnavailableError()
    error.__cause__ = OSError("refused\nHINT: is it running?\x1b[2J")
    assert said(error, capsys) == (
        "whaul: The registry's database did not answer. Its driver says: refused HINT: is it running?\\x1b[2J. "
        "Check WHAUL_DATABASE_URL.\n"
    )


def test_problems_of_settings_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(SettingsError(["A=1: bad", "B=\n  C: bad"]), capsys).splitlines() == [
        "whaul: 2 settings cannot be used:",
        "  A=1: bad",
        r"  B=\n  C: bad",
    ]


def test_the_first_setting_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    problems = ["WHAUL_PROT: there is no such setting; did you mean WHAUL_PORT?", "WHAUL_HOST= : bad"]
    assert said(SettingsError(problems), capsys).splitlines()[-1] == "`whaul help WHAUL_PORT` says what it means."
