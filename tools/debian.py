"""This machine's Debian: packages are installed where root may, and its mirror is where others come from."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 600.0
"""Seconds for one download or installation."""


class MachineError(Exception):
    """What is needed cannot be had on this machine."""


def done(command: Sequence[str | Path], **more: object) -> str:
    """Run a program to its end and return what it printed; what it said is in the error if it fails."""
    settings: dict[str, object] = {"stdin": subprocess.DEVNULL, "timeout": PATIENCE} | more
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, **settings).stdout  # type: ignore[call-overload, no-any-return]
    except subprocess.CalledProcessError as error:
        what = f"{' '.join(map(str, command))}: exit code {error.returncode}"
        raise MachineError(f"{what}\n{error.stdout[-2000:]}\n{error.stderr[-4000:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(str(error)) from error


def install(*packages: str) -> None:
    """Install those packages that are missing."""
    missing = [package for package in packages if not _is_installed(package)]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MachineError(f"missing are Debian's packages {', '.join(missing)}; only root can install them, with apt")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt_get = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    done([*apt_get, "update"])
    done([*apt_get, "install", "--yes", "--no-install-recommends", *missing], env=quiet)


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    asked = subprocess.run(query, capture_output=True, text=True, check=False)
    return asked.stdout == "installed"


def mirror() -> str:
    """Where apt fetches Debian's own packages on this machine."""
    targets = done(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Identifier: Packages"])
    for label, uri in (line.split() for line in targets.splitlines()):
        if label == "Debian":
            return uri
    raise MachineError("apt knows no mirror of Debian here")


def unpacked(package: str, folder: Path, suite: str | None = None) -> Path:
    """Fetch a package and unpack it into `folder`, without root: nothing is installed, and no service is started.

    It is of this machine's own suite of Debian, or of another one.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise MachineError(f"Debian's package {package} is fetched with apt, which is not here")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as lists:
        apt_get = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", "DPkg::Lock::Timeout=300"]
        if suite is not None:
            apt_get += _other_suite(suite, Path(lists))
        try:
            done([*apt_get, "download", package], cwd=folder)
        except MachineError:
            if suite is None and os.geteuid() != 0:
                raise
            done([*apt_get, "update"])  # its lists may be missing or old
            done([*apt_get, "download", package], cwd=folder)
    for archive in folder.glob("*.deb"):
        done(["dpkg-deb", "--extract", archive, folder])
        archive.unlink()
    return folder


def _other_suite(suite: str, folder: Path) -> list[str]:
    """Have apt know that suite and nothing else, and keep what it knows in the folder."""
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror()} {suite} main\n")
    for needed in ("lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    places = {"Etc::sourcelist": sources, "Etc::sourceparts": "-", "State::lists": folder / "lists"}
    options = [f"Dir::{name}={place}" for name, place in (places | {"Cache": folder / "cache"}).items()]
    return [part for option in options for part in ("-o", option)]
