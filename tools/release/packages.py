"""The Python packages: built from a clean copy of the commit, twice, and tried in an empty environment."""

import filecmp
import os
import re
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

from tools.release.programs import ReleaseError, Revision, git, run


def build_packages(revision: Revision, folder: Path) -> tuple[Path, Path]:
    """Build sdist and wheel into `folder`, the wheel from the sdist; build both again, and compare every byte."""
    built = _build(revision, folder)
    with tempfile.TemporaryDirectory() as other:
        for package, again in zip(built, _build(revision, Path(other)), strict=True):
            if package.name != again.name or not filecmp.cmp(package, again, shallow=False):
                raise ReleaseError(f"Two builds of {package.name} differ. A release must be reproducible.")
    return built


def unpack(source: Path, folder: Path) -> Path:
    """Unpack a source package, and return the folder in it."""
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    return tree


def _build(revision: Revision, folder: Path) -> tuple[Path, Path]:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = _hatch(revision, "sdist", _clean_copy(revision, work / "copy"), work / "sdist")
        wheel = _hatch(revision, "wheel", unpack(source, work / "unpacked"), work / "wheel")
        return source.rename(folder / source.name), wheel.rename(folder / wheel.name)


def _clean_copy(revision: Revision, folder: Path) -> Path:
    """Clone the commit: what git ignores, and what is only on this machine, gets into no package."""
    run(["git", "clone", "--quiet", "--depth", "1", "--no-tags", revision.root.resolve().as_uri(), folder])
    if git(folder, "rev-parse", "HEAD") != revision.commit:
        raise ReleaseError("The checkout changed while it was copied.")
    return folder


def _hatch(revision: Revision, target: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    run(command, cwd=source, environ=revision.build_environment)
    (package,) = folder.iterdir()
    return package


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a new environment that holds nothing else, and return its folder of programs."""
    venv.create(folder, symlinks=True, with_pip=False)
    programs = folder / "bin"
    add(programs, str(wheel))
    return programs


def add(programs: Path, requirement: str) -> None:
    """Install something into the environment."""
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet"]
    run([*pip, "--disable-pip-version-check", requirement])


def bill_of_materials(revision: Revision, programs: Path, file: Path) -> None:
    """Write what the environment holds as CycloneDX; the product is whaul itself."""
    text = (revision.root / "pyproject.toml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "pyproject.toml"
        project.write_text(
            re.sub(r'^dynamic = \["version"\]$', f'version = "{revision.version}"', text, flags=re.MULTILINE)
        )
        maker = Path(sys.executable).with_name("cyclonedx-py")
        run(
            [maker, "environment", programs / "python", "--pyproject", project, "--output-reproducible", "-o", file],
            environ=revision.build_environment,
        )


def try_demo(revision: Revision, programs: Path, wheel: Path) -> None:
    """Run the demo from the installed wheel, with nothing of this machine's settings."""
    add(programs, f"{wheel}[demo]")
    with tempfile.TemporaryDirectory() as home:
        environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LANG": "C.UTF-8"}
        said = run([programs / "whaul", "--version"], cwd=Path(home), environ=environ).strip()
        expected = f"whaul {revision.version} (commit {revision.commit[:10]})"
        if said != expected:
            raise ReleaseError(f"The wheel says that it is {said!r}; expected {expected!r}.")
        run([programs / "whaul", "demo"], cwd=Path(home), environ=environ)
