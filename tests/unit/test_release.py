"""What keeps a checkout from being released, and what is said then. tests/packaging builds a release."""

import io
import json
import subprocess
import tarfile
from datetime import date
from pathlib import Path

import pytest

from tools.release import __main__ as release
from tools.release.checks import CHANGELOG, CHART, PACKAGE, prepare, problems, tagged_version
from tools.release.image import VERSION_LABEL, configuration
from tools.release.programs import ReleaseError, run

FILES = {
    PACKAGE: '"""A product."""\n\n__version__ = "1.2.3"\n',
    CHART: 'apiVersion: v2\nname: whaul\nversion: 1.2.3\nappVersion: "1.2.3"\n',
    CHANGELOG: "# All\n\n## Unreleased\n\n## 1.2.3 - 2026-11-28\n\n### Added\n\n- That.\n\n## 1.2.2 - 2026-11-01\n",
}


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments], cwd=root, check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One that can be released as 1.2.3."""
    root = tmp_path / "checkout"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "All")
    git(root, "tag", "v1.2.3")
    return root


def test_the_tag_is_the_version_that_is_released(checkout: Path) -> None:
    git(checkout, "tag", "nightly")
    assert tagged_version(checkout) == "1.2.3"
    assert list(problems(checkout, "1.2.3")) == []


@pytest.mark.parametrize(
    ("tags", "said"),
    [([], "has no tag of the form vX.Y.Z"), (["v1.2.3", "v1.2.4"], "tags of several versions: 1.2.3, 1.2.4")],
)
def test_without_one_tag_there_is_no_release(checkout: Path, tags: list[str], said: str) -> None:
    git(checkout, "tag", "--delete", "v1.2.3")
    for tag in [*tags, "1.2.3", "v1.2", "v01.2.3"]:
        git(checkout, "tag", tag)
    with pytest.raises(ReleaseError, match=said):
        tagged_version(checkout)


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        (PACKAGE, "1.2.3", "1.2.4", f"{PACKAGE}: __version__ is 1.2.4; expected 1.2.3."),
        (PACKAGE, "__version__", "version", f"{PACKAGE}: __version__ is missing; expected 1.2.3."),
        (CHART, "\nversion: 1.2.3", "\nversion: 1.2.2", f"{CHART}: version is 1.2.2; expected 1.2.3."),
        (CHART, '"1.2.3"', "'v1.2.3' # ours", f"{CHART}: appVersion is v1.2.3; expected 1.2.3."),
        (CHANGELOG, "Unreleased\n", "Unreleased\n\n- New.\n", "there are lines below Unreleased"),
        (CHANGELOG, " - 2026-11-28", "", "the newest entry is '1.2.3'; expected `## 1.2.3 - YYYY-MM-DD`."),
        (CHANGELOG, "## 1.2.3 - 2026-11-28", "## 1.3.0 - 2026-11-28", "the newest entry is '1.3.0 - 2026-11-28'"),
        (CHANGELOG, "2026-11-28", "2026-11-31", "2026-11-31 is no date"),
        (CHANGELOG, "\n### Added\n\n- That.\n", "", "the entry of 1.2.3 is empty"),
    ],
)
def test_what_disagrees_with_the_version_is_named(
    checkout: Path, name: str, before: str, after: str, said: str
) -> None:
    file = checkout / name
    file.write_text(file.read_text().replace(before, after, 1))
    git(checkout, "commit", "--quiet", "--all", "--message", "Another")
    (problem,) = problems(checkout, "1.2.3")
    assert said in problem


def test_everything_that_is_wrong_is_said_at_once(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / CHART).unlink()
    (checkout / "dist").mkdir()
    (checkout / "dist" / "old.whl").touch()
    arguments = ["--version", "2.0", "--without", "image", "--without", "chart"]
    assert release.main(arguments, checkout) == 1
    assert capsys.readouterr().err.splitlines() == [
        "No release:",
        "- '2.0' is not a version of the form 1.2.3.",
        f"- The checkout has changes that are not committed ({CHART}, dist/). Commit or remove them.",
        f"- {PACKAGE}: __version__ is 1.2.3; expected 2.0.",
        f"- {CHART} is missing.",
        f"- {CHART} is missing.",
        f"- {CHANGELOG}: the newest entry is '1.2.3 - 2026-11-28'; expected `## 2.0 - YYYY-MM-DD`.",
        f"- {checkout / 'dist'} is not empty. Remove it, or choose another folder with --output.",
    ]


def test_a_program_that_is_missing_is_a_refusal_unless_its_part_is_left_out(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(run(["which", "git"]).strip())
    monkeypatch.setenv("PATH", str(programs))
    assert release.main(["--dry-run"], checkout) == 1
    said = capsys.readouterr().err
    assert "buildah, podman, docker is here, to build the image" in said
    assert "`--without image`" in said
    assert "`--without chart`" in said
    assert release.main(["--dry-run", "--without", "image", "--without", "chart"], checkout) == 0
    assert capsys.readouterr().out.startswith("1.2.3 can be built from ")
    assert not (checkout / "dist").exists()


def test_the_files_of_a_release_are_written_for_its_version(checkout: Path) -> None:
    changelog = checkout / CHANGELOG
    changelog.write_text(changelog.read_text().replace("Unreleased\n", "Unreleased\n\n### Fixed\n\n- This.\n"))
    for _ in range(2):
        prepare(checkout, "1.3.0", date(2026, 12, 1))
    git(checkout, "commit", "--quiet", "--all", "--message", "Release 1.3.0")
    assert list(problems(checkout, "1.3.0")) == []
    assert "## Unreleased\n\n## 1.3.0 - 2026-12-01\n\n### Fixed\n\n- This.\n\n## 1.2.3" in changelog.read_text()
    assert (checkout / CHART).read_text() == 'apiVersion: v2\nname: whaul\nversion: 1.3.0\nappVersion: "1.3.0"\n'


def test_the_configuration_of_an_image_is_read_from_its_archive(tmp_path: Path) -> None:
    stated = {"os": "linux", "config": {"Labels": {VERSION_LABEL: "1.2.3"}}}
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name, document in (("abc.json", stated), ("manifest.json", [{"Config": "abc.json"}])):
            data = json.dumps(document).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert configuration(tmp_path / "image.tar") == stated


def test_what_a_failing_program_said_is_shown() -> None:
    with pytest.raises(ReleaseError, match=r"`sh -c 'echo why; exit 3'` ended with exit code 3:\nwhy$"):
        run(["sh", "-c", "echo why; exit 3"])
    with pytest.raises(ReleaseError, match=r"`no-such-program` cannot be started: No such file"):
        run(["no-such-program"])
