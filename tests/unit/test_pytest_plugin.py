"""The fixtures that pytest finds by whaul's entry point, in runs of their own. `test_newcomer` has the whole stack."""

import subprocess
import sys
from pathlib import Path

from harness.waiting import PATIENCE

NOTHING_LOADED = """
import sys

def pytest_collection_finish():
    ours = {name for name in sys.modules if name.partition(".")[0] in {"whaul", "aiohttp", "boto3", "botocore"}}
    assert ours == {"whaul", "whaul.pytest_plugin"}
"""


def run(folder: Path, conftest: str, tests: str) -> "subprocess.CompletedProcess[str]":
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    (folder / "test_it.py").write_text(tests, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder, folder]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_the_simulator_is_there_in_one_word_fresh_for_every_test_and_costs_nothing_before(tmp_path: Path) -> None:
    tests = """
import urllib.request

import pytest

@pytest.mark.parametrize("turn", [1, 2])
def test_it(whaul_simulator, turn):
    assert len(whaul_simulator.media) == 3
    assert whaul_simulator.requests == []
    media_id = whaul_simulator.add_media(b"a photo", "image/jpeg")
    bearer = {"Authorization": "Bearer " + whaul_simulator.token}
    urllib.request.urlopen(urllib.request.Request(f"{whaul_simulator.url}/v25.0/{media_id}", headers=bearer)).close()
    assert whaul_simulator.count(media_id)["metadata"] == 1

def test_it_is_one_for_the_whole_run(whaul_simulator, whaul_running_simulator):
    assert whaul_simulator is whaul_running_simulator
"""
    done = run(tmp_path, NOTHING_LOADED, tests)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_without_the_packages_of_an_extra_they_say_what_to_install(tmp_path: Path) -> None:
    tests = """
def test_a(whaul_simulator): raise AssertionError
def test_b(whaul_stack): raise AssertionError
"""
    done = run(tmp_path, "import sys; sys.modules['aiohttp'] = None", tests)
    assert "2 errors" in done.stdout
    said = [line for line in done.stdout.splitlines() if "(aiohttp is missing)" in line and "pip install" in line]
    assert [line for line in said if line.startswith("whaul_stack: ")]
    assert [line for line in said if line.startswith("whaul_simulator ")]
    assert "Traceback" not in done.stdout


def test_settings_that_the_stack_sets_itself_are_refused_before_it_starts(tmp_path: Path) -> None:
    conftest = """
import pytest

@pytest.fixture(scope="session")
def whaul_settings():
    return {"WHAUL_DATABASE_URL": "sqlite:///mine.db"}
"""
    done = run(tmp_path, conftest, "def test_it(whaul_stack): raise AssertionError")
    assert "whaul_stack: The stack itself sets WHAUL_DATABASE_URL." in done.stdout, done.stdout
