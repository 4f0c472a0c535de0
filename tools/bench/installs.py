"""What the bench needs besides whaul, without root: nginx, rclone, the rivals' libraries, below `.tools/bench`."""

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".tools" / "bench"
TIMEOUT = 300.0
"""Seconds for one download or installation."""

ENVIRONMENTS = {
    "threads": ("boto3>=1.37,<2", "requests>=2.32,<3", "pywa>=3,<5"),
    "tasks": ("aiohttp>=3.11,<4", "aiobotocore>=2.20,<4", "uvloop>=0.21,<1"),
    "receivers": (
        "aiohttp>=3.11,<4",
        "aiosqlite>=0.21,<1",
        "asyncpg>=0.30,<1",
        "dbos>=3,<4",
        "pgqueuer>=1,<2",
        "uvloop>=0.21,<1",
    ),
}
"""The rivals' environments; `tasks` is apart because aiobotocore wants a botocore of its own."""
SHOWN = (
    *("boto3", "botocore", "requests", "pywa", "aiohttp", "aiobotocore", "uvloop"),
    *("aiosqlite", "asyncpg", "dbos", "pgqueuer"),
)


class NotThere(Exception):  # noqa: N818 - what happened
    """Something cannot be had on this machine; the message says what and why."""


def nginx() -> Path:
    """Find or fetch nginx; older Debians have the program in another package. Raises `NotThere`."""
    return _program("nginx", ("nginx", "nginx-light"))


def rclone() -> Path:
    """Find or fetch rclone. Raises `NotThere`."""
    return _program("rclone", ("rclone",))


def _program(name: str, packages: tuple[str, ...]) -> Path:
    """Find a program in PATH, else unpack it from one of these Debian packages. Raises `NotThere`."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found:
        return Path(found)
    root = FOLDER / "debian"
    for attempt in (False, True):
        for folder in ("usr/sbin", "usr/bin"):
            path = root / folder / name
            if path.exists() and _runs(path):
                return path
        if not attempt:
            _unpack(packages, root)
    raise NotThere(f"{name} is not installed, and Debian's package of it does not run here")


def _runs(path: Path) -> bool:
    for argument in ("-v", "version"):
        done = subprocess.run([path, argument], capture_output=True, check=False, timeout=30)
        if done.returncode == 0:
            return True
    return False


def _unpack(packages: tuple[str, ...], root: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NotThere(f"{packages[0]} is not installed, and this is no Debian from whose packages to take it")
    debs = FOLDER / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    for package in packages:
        print(f"bench: fetching Debian's {package} into .tools/bench", file=sys.stderr, flush=True)
        command = ["apt-get", "-qq", "download", package]
        done = subprocess.run(command, cwd=debs, capture_output=True, text=True, check=False, timeout=TIMEOUT)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotThere(f"{package} is not installed, and `apt-get download {package}` failed: {reason}")
        for deb in debs.glob(f"{package}_*.deb"):
            subprocess.run(["dpkg-deb", "-x", deb, root], check=True, timeout=TIMEOUT)


def environment(name: str) -> Path:
    """The Python of one of the `ENVIRONMENTS`, made on first use. Raises `NotThere`."""
    folder, wanted = FOLDER / name, "\n".join(ENVIRONMENTS[name])
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"bench: installing {', '.join(ENVIRONMENTS[name])} into .tools/bench/{name}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=TIMEOUT)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *ENVIRONMENTS[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotThere(f"the libraries of the environment {name} could not be installed: {reason}")
    stamp.write_text(wanted, encoding="utf-8")
    return python


def versions(python: Path) -> dict[str, str]:
    """The versions of the rivals' libraries in an environment."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    listed = dict(line.split("==", 1) for line in done.stdout.splitlines() if "==" in line)
    return {name: version for name, version in listed.items() if name in SHOWN}
