"""Which commit a checkout, a work tree or a built package is of, and what else a package holds."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from whaul.build import COMMIT_FILE, commit

ROOT = Path(__file__).parents[2]

HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout" / "src" / "whaul"
    folder.mkdir(parents=True)
    return folder


def git(package: Path, **files: str) -> Path:
    folder = package.parents[1] / ".git"
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_branch_is_followed(package: Path) -> None:
    git(package, HEAD="ref: refs/heads/main\n", refs__heads__main=f"{HASH}\n")
    assert commit(package) == HASH[:10]


def test_a_branch_may_be_packed(package: Path) -> None:
    folder = git(package, HEAD="ref: refs/heads/main\n")
    (folder / "packed-refs").write_text(
        f"# pack-refs with: peeled\n{'f' * 40} refs/heads/xmain\n{HASH} refs/heads/main\n"
    )
    assert commit(package) == HASH[:10]


def test_a_head_may_be_no_branch(package: Path) -> None:
    git(package, HEAD=f"{HASH}\n")
    assert commit(package) == HASH[:10]


def test_a_work_tree_shares_its_branches(package: Path, tmp_path: Path) -> None:
    main = tmp_path / "main" / ".git"
    own = main / "worktrees" / "checkout"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/work\n")
    (own / "commondir").write_text("../..\n")
    (main / "refs" / "heads").mkdir(parents=True)
    (main / "refs" / "heads" / "work").write_text(HASH)
    (package.parents[1] / ".git").write_text(f"gitdir: {own}\n")
    assert commit(package) == HASH[:10]


def test_a_built_package_holds_it(tmp_path: Path) -> None:
    (tmp_path / COMMIT_FILE).write_text(f"{HASH}\n")
    assert commit(tmp_path) == HASH[:10]


@pytest.mark.parametrize("head", ["", "ref: refs/heads/none\n", "ref: \n", "nonsense", "\ufeff"])
def test_a_repository_that_says_nothing_is_no_failure(package: Path, head: str) -> None:
    git(package, HEAD=head)
    assert commit(package) is None


def test_a_package_in_somebody_elses_repository_is_not_of_its_commit(package: Path) -> None:
    git(package, HEAD=f"{HASH}\n")
    installed = package.parents[1] / "lib" / "whaul"
    installed.mkdir(parents=True)
    assert commit(installed) is None


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, with a repository that says nothing but its commit."""
    folder = tmp_path_factory.mktemp("build") / "checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder)
    for name in ("src", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text(f"{HASH}\n")
    return folder


def built(checkout: Path, target: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", f"../{target}"]
    subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    (package,) = (checkout.parent / target).iterdir()
    return package


def test_a_wheel_holds_the_documentation_and_its_commit(checkout: Path) -> None:
    with zipfile.ZipFile(built(checkout, "wheel")) as wheel:
        names = wheel.namelist()
        assert wheel.read(f"whaul/{COMMIT_FILE}").decode().strip() == HASH[:10]
    pages = {f"whaul/docs/{page.relative_to(ROOT / 'docs')}" for page in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(names)
    assert not [name for name in names if name.endswith("generate.py")]


def test_a_wheel_that_is_made_from_a_source_package_is_of_its_commit(checkout: Path, tmp_path: Path) -> None:
    with tarfile.open(built(checkout, "sdist")) as source:
        source.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    with zipfile.ZipFile(built(unpacked, "wheel")) as wheel:
        assert wheel.read(f"whaul/{COMMIT_FILE}").decode().strip() == HASH[:10]
        assert wheel.namelist().count(f"whaul/{COMMIT_FILE}") == 1
        assert "whaul/docs/settings.md" in wheel.namelist()
