"""Where a user's data is kept; private folders; folders that are synced where the file system can."""

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_NOT_SYNCED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EISDIR})
"""Errors of file systems that sync files only, such as some network and FUSE mounts."""


def data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this user's programs keep data: the XDG folder, or its macOS equivalent."""
    if "XDG_DATA_HOME" not in environ and sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "whaul"
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "whaul"


def create_private_folder(path: Path) -> None:
    """Create a folder and its missing parents for the owner only; folders that exist keep their mode."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def sync_folder(path: Path) -> None:
    """Sync the folder itself, so that new and renamed files survive a power cut."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise
