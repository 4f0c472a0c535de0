"""What the figures were measured on."""

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from tools.bench.installs import ENVIRONMENTS, FOLDER, NotThere, rclone, versions

ROOT = Path(__file__).parents[2]
OURS = ("granian", "pyreqwest", "botocore", "uvloop", "msgspec", "sqlalchemy", "cryptography")


def machine() -> dict[str, str]:
    """The machine and its system."""
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    kernel = re.match(r"\d+\.\d+", platform.release())
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[1]) / 1024**2:.0f} GiB" if memory else "unknown",
        "system": f"{release.get('PRETTY_NAME', platform.system())}, Linux {kernel[0] if kernel else 'unknown'}",
        "Python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def software(nginx: str) -> dict[str, str]:
    """Versions of whaul, of what it stands on, and of its rivals."""
    found = {"whaul": f"{version('whaul')}{_commit()}", "nginx": nginx}
    found |= {name: version(name) for name in OURS}
    for name in ENVIRONMENTS:
        if (FOLDER / name / ".installed").exists():
            listed = versions(FOLDER / name / "bin" / "python").items()
            found |= {f"{library} ({name})": number for library, number in listed}
    if shutil.which("curl"):
        found["curl"] = _first_line(["curl", "--version"]).split()[1]
    with suppress(NotThere):
        found["rclone"] = _first_line([str(rclone()), "version"]).removeprefix("rclone v")
    return found


def _commit() -> str:
    """The commit, and whether the checkout differs from it; nothing outside a git checkout."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        return ""
    commit = _first_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    changed = _first_line(["git", "-C", str(ROOT), "status", "--porcelain", "--", "src"])
    return f" at {commit}" + (", changed" if changed else "") if commit else ""


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout.splitlines() or [""])[0]
