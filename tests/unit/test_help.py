"""Help: what it says, what it loads, and what whoever mistypes a word is told."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner, Result

from harness.world import ZYGOTE
from whaul.cli import COMMANDS, app, output
from whaul.cli import help as help_pages
from whaul.settings import Settings

GROUP: Any = typer.main.get_command(app)
WIDE = {"COLUMNS": "100"}


def leaves(group: Any, *path: str) -> Iterator[list[str]]:
    """Every command, by its words."""
    for name in group.list_commands(None):
        found = group.get_command(None, name)
        if hasattr(found, "list_commands"):
            yield from leaves(found, *path, name)
        else:
            yield [*path, name]


LEAVES = list(leaves(GROUP))


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=WIDE | environ)


def shown(*arguments: str, **environ: str) -> str:
    result = run(*arguments, **environ)
    assert result.exit_code == 0, result.output
    return result.stdout


def command(words: list[str]) -> Any:
    found = GROUP
    for word in words:
        found = found.get_command(None, word)
    return found


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_help_is_the_same_however_it_is_asked_for(words: list[str]) -> None:
    page = shown("help", *words)
    assert page == shown(*words, "--help") == shown(*words, "-h")
    for param in command(words).params:
        for name in [*param.opts, *param.secondary_opts] if param.param_type_name == "option" else []:
            assert re.search(rf"(^|\s){name}\b", page), name


def test_the_first_page_lists_every_command_in_a_group() -> None:
    page = shown("--help")
    assert page == shown("help")
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", page, re.MULTILINE), name


@pytest.mark.parametrize("columns", ["20", "60", "100", "500"])
@pytest.mark.parametrize("words", [[], ["get"], ["link"]], ids=" ".join)
def test_no_word_is_broken_at_the_terminals_edge(words: list[str], columns: str) -> None:
    def text(width: str) -> str:
        return " ".join(shown(*words, "--help", COLUMNS=width).split())

    assert text(columns) == text("100")
    lines = shown(*words, "--help", COLUMNS=columns).partition("Examples:")[0].splitlines()
    long = [line for line in lines if len(line) > max(int(columns), 40) and not line.startswith("Usage:")]
    assert long == [] or columns == "20"


def test_options_are_shown_as_they_are_typed_with_readable_defaults() -> None:
    page = shown("serve", "--help")
    assert "<" not in page
    assert re.search(r"--port PORT +Port to listen on .*\[default: 8080\]", page)
    assert re.search(r"-y, --yes +Do not ask", shown("unlink", "--help"))
    assert re.search(r"--verify, --no-verify +Ask .*\[default: --verify\]", shown("link", "--help"))
    assert "Usage: whaul link --waba-id ID [OPTIONS]\n" in shown("link", "--help")


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_examples_use_options_that_there_are(words: list[str]) -> None:
    for line in help_pages.About.read(command(words).help).examples:
        called = line.partition("#")[0].partition(" -- ")[0].split()
        for place in [number for number, word in enumerate(called) if word == "whaul"]:
            found, rest = GROUP, called[place + 1 :]
            while rest and hasattr(found, "list_commands") and rest[0] in found.list_commands(None):
                found, rest = found.get_command(None, rest[0]), rest[1:]
            known = {name for param in found.params for name in [*param.opts, *param.secondary_opts]}
            assert not [word for word in rest if word.startswith("--") and word not in known], line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["srve"], "whaul: there is no command srve; did you mean serve?"),
        (["version"], "whaul: there is no command version; did you mean --version?"),
        (["keys", "crate"], "whaul: there is no command crate; did you mean create?"),
        (["xyzzy"], "whaul: there is no command xyzzy"),
        (["serve", "--prot", "1"], "whaul: there is no option --prot; did you mean --port?"),
        (["serve", "--zz"], "whaul: there is no option --zz"),
        (["--vresion"], "whaul: there is no option --vresion; did you mean --version?"),
        (["link"], "whaul: --waba-id is missing"),
        (["unlink"], "whaul: ID is missing"),
        (["link", "--waba-id", "x"], "whaul: --waba-id: expected digits, as Meta shows it"),
        (["serve", "--port", "x"], "whaul: --port: should be a valid integer"),
        (["listen", "--format", "xml"], "whaul: --format: 'xml' is not one of 'aws', "),
        (["serve", "it's"], "whaul: got unexpected extra argument"),
        (["serve", "--port"], "whaul: --port requires an argument"),
        (["help", "kyes"], "whaul: there is no command kyes; did you mean keys?"),
        (["help", "whaul_port"], "whaul: there is no setting whaul_port; did you mean WHAUL_PORT?"),
        (["help", "WHAUL_PROT"], "whaul: there is no setting WHAUL_PROT; did you mean WHAUL_PORT?"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_a_mistyped_word_is_named_with_what_was_meant(arguments: list[str], told: str) -> None:
    ended = ZYGOTE.run(arguments, os.environ)
    first, *others = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (1 if arguments[0] == "help" else 2, "")
    assert first.startswith(told)
    assert ("?" in told) == ("?" in first)
    assert len(others) == (0 if arguments[0] == "help" else 1)
    place = {"serve": "whaul serve", "link": "whaul link", "unlink": "whaul unlink", "keys": "whaul keys"}
    place["listen"] = "whaul listen"
    assert not others or others[0] == f"`{place.get(arguments[0], 'whaul')} --help` shows how to use it."


@pytest.mark.parametrize("arguments", [[], ["keys"]], ids=["whaul", "whaul keys"])
def test_whoever_gives_nothing_is_shown_what_there_is(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == shown(*arguments, "--help")


def test_a_setting_is_explained() -> None:
    page = shown("help", "WHAUL_LOG_LEVEL")
    assert (Settings.model_fields["log_level"].description or "") in page
    assert "Default: info" in page
    assert "Allowed: debug, info, warning, error" in page
    assert "also as WHAUL_SECRET_KEY_FILE" in shown("help", "WHAUL_SECRET_KEY")
    assert shown("help", "WHAUL_SECRET_KEY_FILE") == shown("help", "WHAUL_SECRET_KEY")
    assert shown("help", "AWS_DEFAULT_REGION") == shown("help", "AWS_REGION")


def test_the_documentation_is_where_help_says() -> None:
    folder = Path(shown("help", "docs").strip())
    assert (folder / "settings.md").is_file()
    assert (folder / "simulator.md").is_file()


TERMINAL = {"TERM": "xterm", "COLUMNS": "100"}


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "", "NO_COLOR": ""}, False),
    ],
)
def test_colours_are_as_the_user_wants_them(environ: dict[str, str], coloured: bool) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    command = [sys.executable, "-m", "whaul", "--help"]
    ended = subprocess.run(command, env=clean | TERMINAL | environ, capture_output=True, text=True, check=True)
    assert ("\x1b[" in ended.stdout) == coloured


@pytest.mark.parametrize(
    ("started", "path", "called"),
    [
        ("bin/whaul", "bin", "whaul"),
        ("bin/whaul", "elsewhere", "bin/whaul"),
        ("src/whaul/__main__.py", "bin", f"{Path(sys.executable).name} -m whaul"),
    ],
)
def test_a_message_names_the_program_as_its_reader_can_start_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: str, path: str, called: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "whaul").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / started), "demo"])
    monkeypatch.setenv("PATH", str(tmp_path / path))
    assert output.itself() == called


def test_whoever_gives_nothing_is_shown_the_help_with_its_colours() -> None:
    result = run("events", FORCE_COLOR="1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "\x1b[1mUsage:\x1b[0m whaul events COMMAND" in result.stderr
