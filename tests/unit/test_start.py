"""What `whaul serve` refuses before it starts, as far as no server is needed for it."""

import tempfile
from pathlib import Path

import pytest

from whaul.cli.start import METRICS_FOLDERS, check_metrics_folder
from whaul.settings import SettingsError


@pytest.mark.parametrize("name", METRICS_FOLDERS)
@pytest.mark.parametrize("kind", ["missing", "a file", "not writable"])
def test_a_folder_for_counters_that_cannot_be_used_is_named(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "counters"
    if kind == "a file":
        folder.touch()
    elif kind == "not writable":
        folder = Path("/proc/self")  # not for root either
    with pytest.raises(SettingsError) as refused:
        check_metrics_folder({name: str(folder)}, workers=1)
    [problem] = refused.value.problems
    assert problem.startswith(f"{name}={folder}: expected a folder that can be written to: ")


def test_a_folder_that_can_be_used_is_left_as_it_is(tmp_path: Path) -> None:
    check_metrics_folder({METRICS_FOLDERS[0]: str(tmp_path)}, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_several_workers_need_room_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    for empty in ({}, {METRICS_FOLDERS[0]: ""}):
        check_metrics_folder(empty, workers=1)
        with pytest.raises(SettingsError, match="PROMETHEUS_MULTIPROC_DIR: unset, and no temporary folder"):
            check_metrics_folder(empty, workers=2)
