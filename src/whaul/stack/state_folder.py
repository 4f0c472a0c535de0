"""The folder in which a local stack keeps its state: for itself alone, and emptied only if it is a stack's."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from whaul.folders import create_private_folder
from whaul.stack.processes import StackError

MARK = ".whaul-stack"
"""A file that says that the folder is a stack's; the stack that uses the folder has locked it."""
DATABASE = "whaul.db"
"""A command that has the stack's variables makes one, if the stack has ended."""


def shared_temporary(port: int) -> Path:
    """Name a folder among the temporary ones, the same for every stack of this user with this port."""
    return Path(tempfile.gettempdir()).absolute() / f"whaul-dev-{os.getuid()}-{port}"


@contextmanager
def persistent(path: Path, *, empty: bool = False) -> Iterator[Path]:
    """Use a folder that stays, made if it is missing; `empty` it first. Raises `StackError`."""
    path = path.absolute()
    with _locked(path):
        if empty:
            _empty(path)
        yield path


@contextmanager
def temporary(path: Path | None = None) -> Iterator[Path]:
    """Use a folder that goes afterwards; `path` may have been left by a stack that was killed. Raises `StackError`."""
    if path is None:
        with tempfile.TemporaryDirectory(prefix="whaul-") as folder:
            yield Path(folder).absolute()
        return
    with _locked(path, besides=DATABASE):
        _empty(path)
        try:
            yield path
        finally:
            shutil.rmtree(path)


def _locked(path: Path, *, besides: str | None = None) -> BinaryIO:
    """Make the folder if it is missing, and keep other stacks out until the file that is returned is closed.

    One that no stack has marked must be empty, `besides` files whose names begin so.
    """
    try:
        create_private_folder(path)
        # Others may write to the parent of temporary folders, and have put something else there.
        if not path.is_dir() or path.lstat().st_uid != os.getuid():
            raise StackError(f"{path} is not a folder of this user; choose another")
        mark = path / MARK
        others = (left for left in path.iterdir() if besides is None or not left.name.startswith(besides))
        if not mark.exists() and any(others):
            raise StackError(f"{path} holds what is not of `whaul dev`; choose another folder, or an empty one")
        lock = mark.open("ab")
    except OSError as error:
        raise StackError(f"{path} cannot be used: {error.strerror}; choose another folder") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StackError(f"{path} is used by another `whaul dev`; stop that, or choose another folder") from None
    return lock


def _empty(path: Path) -> None:
    for left in path.iterdir():
        if left.name == MARK:
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
