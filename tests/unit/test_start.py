"""What `whaul serve` refuses before it starts, as far as no server is needed for it."""

import tempfile
from pathlib import Path

import pytest

from whaul.cli.start import METRICS_FOLDERS, check_metrics_folder
from whaul.components import check_events_profile
from whaul.settings import Settings, SettingsError


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


def test_a_profile_for_events_that_nobody_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile events]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    check_events_profile(Settings(events_aws_profile="events"))
    check_events_profile(Settings())
    with pytest.raises(SettingsError, match="WHAUL_EVENTS_AWS_PROFILE=evens: AWS's configuration has no such profile"):
        check_events_profile(Settings(events_aws_profile="evens"))
