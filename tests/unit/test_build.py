"""Which commit a checkout, a work tree or a built package is of."""

from pathlib import Path

import pytest

from whaul.build import COMMIT_FILE, commit

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
