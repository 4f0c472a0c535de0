"""The house: how long a module may be, what it may be called, and that importing it does nothing.

Who may import whom is in pyproject.toml; `lint-imports` checks it.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import whaul

HOUSE = Path(whaul.__file__).parent
MAX_MODULE_LINES = 400
LONGER_MODULES: dict[str, str] = {}
"""Modules that may be longer, each with its reason."""
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def modules(house: Path = HOUSE) -> list[Path]:
    return sorted(path for path in house.rglob("*.py"))


def test_no_module_is_longer_than_its_readers_patience() -> None:
    lengths = {str(path.relative_to(HOUSE)): len(path.read_text().splitlines()) for path in modules()}
    assert {name for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == set(LONGER_MODULES)


def test_every_module_is_named_for_what_it_holds() -> None:
    names = {path.stem for path in modules()} | {path.parent.name for path in modules()}
    assert not names & NAMES_THAT_SAY_NOTHING


def test_every_module_says_what_it_is() -> None:
    silent = [path for path in modules() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_no_module_does_anything_but_define_when_it_is_imported() -> None:
    """At the top level: docstrings, imports, definitions, assignments, and `__main__`'s one call."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign)
    acting = {
        f"{path.relative_to(HOUSE)}:{node.lineno}"
        for path in modules()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if not isinstance(node, (*allowed, ast.AnnAssign, ast.If))
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    }
    started = {line for line in acting if line.startswith(("__main__", "cli/__init__", "registry/migrations/env"))}
    assert acting - started == set()


LOOK = """
import atexit, sys
atexit.register(lambda: print("loaded", *sys.modules))
from whaul.cli import main
main()
"""
SLOW = {"rich", "pydantic", "msgspec", "sqlalchemy", "botocore", "pyreqwest", "aiohttp", "structlog", "uvloop"}


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["help", "keys", "create"], ["get", "-h"]])
def test_help_loads_nothing_that_takes_time(arguments: list[str]) -> None:
    """A module of commands imports nothing at its top but the command line, so help is there in a tenth of a second."""
    look = [sys.executable, "-c", LOOK, *arguments]
    loaded = subprocess.run(look, capture_output=True, text=True, check=True).stdout.rpartition("loaded ")[2].split()
    ours = {name for name in loaded if name.startswith("whaul.") and not name.startswith("whaul.cli")}
    assert ours == {"whaul.terminal"}
    assert not SLOW & set(loaded)


LOOK_AT_SUPERVISOR = """
import atexit, runpy, sys
atexit.register(lambda: print("loaded", *(name for name, module in sys.modules.items() if module)))
runpy.run_module("whaul.server", run_name="__main__")
"""


def test_the_supervisor_loads_nothing_that_takes_memory() -> None:
    """It does nothing but wait, and each worker begins with what it has loaded."""
    look = [sys.executable, "-c", LOOK_AT_SUPERVISOR, "not a plan"]
    loaded = subprocess.run(look, capture_output=True, text=True, check=False).stdout.rpartition("loaded ")[2].split()
    assert "whaul.server.workers" in loaded
    assert not (SLOW - {"msgspec", "structlog", "uvloop"}) & set(loaded)


LOOK_AT_WORKER = """
import asyncio, sys
import whaul.app, whaul.events.targets.aws
from whaul import components
from whaul.settings import Settings
from whaul.storage.credentials import CredentialChain
components.check_outbound()
components.s3_config(Settings.load())
print(asyncio.run(CredentialChain().source()), *sys.modules)
"""


def test_a_worker_with_keys_in_its_environment_does_without_the_whole_of_botocore() -> None:
    """Its session and credential chain take 8 MB."""
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"}
    look = [sys.executable, "-c", LOOK_AT_WORKER]
    source, *loaded = subprocess.run(look, env=environ, capture_output=True, text=True, check=True).stdout.split()
    assert source == "env"
    assert not {"botocore.session", "botocore.credentials", "urllib3"} & set(loaded)


def test_no_test_patches_with_unittest_mock() -> None:
    tests = Path(__file__).parent.parent
    modules_imported = {
        name
        for path in tests.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not {name for name in modules_imported if name and name.startswith("unittest")}
