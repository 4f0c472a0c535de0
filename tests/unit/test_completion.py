"""What is quick on the command line: the version, help, and the shell's completion."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "whaul.components",
    "whaul.settings",
    "sqlalchemy",
    "botocore",
    "pyreqwest",
    "uvloop",
    "granian",
    "cryptography",
}


def test_saying_the_version_loads_nothing_that_a_command_needs() -> None:
    look = "import sys, whaul.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
    assert "whaul.cli" in loaded
    assert not {"pydantic", *HEAVY} & set(loaded)


ITSELF_AND_ITS_MODULES = """
import atexit, runpy, sys
atexit.register(lambda: print(*sys.modules))
runpy.run_module("whaul", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("shell", "words", "completed"),
    [
        ("zsh", "whaul acc", {"accounts"}),
        ("fish", "whaul acc", {"accounts"}),
        ("bash", "whaul ", {"link", "accounts", "keys", "serve", "doctor", "rotate-secrets"}),
        ("bash", "whaul acc", {"accounts"}),
        ("bash", "whaul --deb", {"--debug"}),
        ("bash", "whaul link --", {"--waba-id", "--token-file", "--json"}),
        ("bash", "whaul keys ", {"create", "list", "simulate"}),
        ("bash", "whaul keys create --e", {"--expires-in"}),
        ("bash", "whaul get --conc", {"--concurrency"}),
        ("bash", "whaul serve --w", {"--workers"}),
        ("bash", "whaul help ser", {"serve"}),
        ("fish", "whaul help do", {"doctor", "docs"}),
    ],
)
def test_commands_and_their_options_complete_without_what_they_need_to_run(
    shell: str, words: str, completed: set[str]
) -> None:
    environ = os.environ | {
        "_WHAUL_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    ended = subprocess.run(
        [sys.executable, "-c", ITSELF_AND_ITS_MODULES], env=environ, capture_output=True, text=True, check=False
    )
    answer, _, loaded = ended.stdout.rstrip().rpartition("\n")
    assert completed <= set(re.split(r"[\s:\"]+", answer)), answer
    assert not HEAVY & set(loaded.split())  # pydantic is loaded by newer versions of Typer itself
    assert ended.stderr == ""


def test_completion_is_installed_for_a_shell(tmp_path: Path) -> None:
    environ = os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "whaul", "--install-completion", "bash"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "bash completion installed" in ended.stdout
    script = next(path for path in tmp_path.rglob("*whaul*") if path.is_file())
    assert "_WHAUL_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


BASH = """
eval "$(_WHAUL_COMPLETE=source_bash "$WHAUL")"
COMP_WORDS=(whaul keys cr) COMP_CWORD=2
_whaul_completion "$WHAUL"
echo "${COMPREPLY[@]}"
"""


def test_the_script_that_the_docs_name_completes_in_bash() -> None:
    program = Path(sys.executable).with_name("whaul")
    ended = subprocess.run(
        ["bash", "-c", BASH], env=os.environ | {"WHAUL": str(program)}, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["create"]
