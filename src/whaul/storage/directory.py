"""A folder of this machine, where `whaul get` stores files and looks which ones it has.

A file is written under a temporary name beside its final one, synced, and then renamed, so that it has its final name
only when it is whole. A killed program leaves temporary files; the next run removes those that no running program has
locked.
"""

import asyncio
import errno
import fcntl
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pyreqwest.bytes import Bytes

from whaul.errors import AccessDeniedException, DependencyException, InvalidParametersException, Retry
from whaul.folders import sync_folder
from whaul.model import MediaInfo
from whaul.outbound.http import Body
from whaul.storage.naming import EXTENSIONS, split_name

PIECE = 1024 * 1024
"""Bytes of a large file that are written at once, off the event loop."""

_TEMPORARY = re.compile(r"\.whaul-[0-9a-f]{32}\.part")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,254}")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,16}")
MAX_EXTENSIONS = 200
"""Extensions that are looked for, beside those of the documented table."""

T = TypeVar("T")


class Directory:
    """A folder that holds files by media id, or in folders below it by longer names."""

    def __init__(self, path: Path, extensions: Mapping[str, str]) -> None:
        """`extensions` are the overrides of file extensions by MIME type."""
        self._path = path
        self._overrides = extensions
        self._extensions = {"", *EXTENSIONS.values(), *extensions.values()}
        self._folders: set[str] = set()
        """The folders below this one whose extensions are known."""
        self._changed: set[Path] = {path}

    async def prepare(self, *, listed: bool, written: bool = True) -> None:  # noqa: ARG002 - a folder can always be listed
        """Make the folder if there is none, and remove what killed runs left. Raises an `ApiError`.

        If nothing will be `written`, nothing is touched.
        """
        await asyncio.to_thread(self._translated, self._prepare if written else self._check)

    async def names(self, limit: int, wanted: int | None = None) -> dict[str, str] | None:  # noqa: ARG002 - a scan is cheap
        """Return the names of the stored files by media id; None if there are more than `limit`."""
        return await asyncio.to_thread(self._translated, self._scan, limit)

    async def find(self, stem: str) -> str | None:
        """Return the name of the file that is `stem` and an extension: a usual one, or one that its folder has."""
        return await asyncio.to_thread(self._find, stem)

    async def put(self, name: str, body: Body, info: MediaInfo) -> str:
        """Store the file of that name; there is no ETag.

        Raises `InvalidParametersException` for a name that could be anything but a visible file in this folder or
        below it.
        """
        if not all(map(_NAME.fullmatch, name.split("/"))):
            raise InvalidParametersException(
                "The file's name is too long, or holds characters other than letters, digits and ._=-"
            )
        if isinstance(body, bytes | Bytes):
            # One thread does it all: if this call is given up meanwhile, the file appears whole, or not at all.
            await asyncio.to_thread(self._translated, self._store, name, body, info.file_size)
            return ""
        file = await asyncio.to_thread(self._translated, _Temporary, self._path)
        try:
            held: list[Bytes] = []
            async for part in body:
                held.append(part)
                if sum(map(len, held)) >= PIECE:
                    await asyncio.to_thread(self._translated, file.write, held)
                    held = []
            await asyncio.to_thread(self._translated, file.write, held)
            await asyncio.to_thread(self._translated, self._publish, file, name, info.file_size)
        finally:
            await asyncio.shield(asyncio.to_thread(file.discard))
        return ""

    def location(self, name: str) -> dict[str, str]:
        """Where the file is, for people and programs."""
        return {"path": os.fsencode(self._path / name).decode("utf-8", "replace")}  # JSON holds Unicode only

    async def close(self) -> None:
        """Sync the folders, so that renames survive a power cut."""
        await asyncio.to_thread(self._translated, self._sync)

    def _prepare(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        with os.scandir(self._path) as entries:
            for entry in entries:
                if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    _remove_unless_held(entry.path)
        _Temporary(self._path).discard()  # raises if no file can be made here

    def _check(self) -> None:
        if self._path.exists():
            os.scandir(self._path).close()

    def _scan(self, limit: int) -> dict[str, str] | None:
        found: dict[str, str] | None = {}
        self._folders.add("")
        if not self._path.exists():
            return found
        with os.scandir(self._path) as entries:
            for entry in entries:
                parts = split_name(entry.name, self._overrides)
                if parts is None or not entry.is_file():
                    continue
                self._extensions.add(parts[1])
                if found is not None:
                    found[parts[0]] = entry.name
                    if len(found) > limit:
                        found = None  # continue, for the extensions
        return found

    def _find(self, stem: str) -> str | None:
        folder = stem.rpartition("/")[0]
        if folder not in self._folders:
            self._folders.add(folder)
            self._learn(self._path / folder)
        names = (stem + extension for extension in self._extensions)
        return next((name for name in names if (self._path / name).is_file()), None)

    def _learn(self, folder: Path) -> None:
        """Learn the extensions in a folder."""
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                suffix = Path(entry.name).suffix
                if len(self._extensions) < MAX_EXTENSIONS and _EXTENSION.fullmatch(suffix):
                    self._extensions.add(suffix)

    def _sync(self) -> None:
        for folder in self._changed:
            sync_folder(folder)

    def _publish(self, file: "_Temporary", name: str, size: int) -> None:
        folder = (self._path / name).parent
        if folder not in self._changed:
            folder.mkdir(parents=True, exist_ok=True)
            self._changed |= {folder, *(above for above in folder.parents if self._path in above.parents)}
        file.publish(name, size)

    def _store(self, name: str, body: bytes | Bytes, size: int) -> None:
        file = _Temporary(self._path)
        try:
            file.write([body])
            self._publish(file, name, size)
        finally:
            file.discard()

    def _translated(self, work: Callable[..., T], *arguments: object) -> T:
        """Call `work`; translate the system's errors, which concern this folder or one that they name."""
        try:
            return work(*arguments)
        except OSError as error:
            path, reason = self._path, os.strerror(error.errno or errno.EIO)
            if isinstance(error, FileExistsError | NotADirectoryError):
                path, reason = error.filename or path, f"{reason}, and it is not a folder"
            message = f"Storing into {os.fsencode(path).decode('utf-8', 'replace')} failed: {reason}."
            if isinstance(error, PermissionError) or error.errno == errno.EROFS:
                raise AccessDeniedException(message) from error
            raise DependencyException(message, retry=Retry.NO) from error


class _Temporary:
    """A file that has no final name yet, locked while it is written. Its methods are called from threads.

    A cancelled call leaves its thread running, so each step takes a lock: no step meets a closed file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._step = threading.Lock()
        while True:
            self._path = directory / f".whaul-{secrets.token_hex(16)}.part"
            self._file = self._path.open("xb", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            # By its name: some file systems count no links.
            with suppress(FileNotFoundError):
                if self._path.stat().st_ino == os.fstat(self._file.fileno()).st_ino:
                    return
            self._file.close()  # another run removed it before it was locked

    def write(self, parts: Iterable[bytes | Bytes]) -> None:
        """Append."""
        with self._step:
            for part in parts:
                view = memoryview(part)
                while view and not self._file.closed:
                    view = view[self._file.write(view) :]

    def publish(self, name: str, size: int) -> None:
        """Rename the file to its final name, after all `size` bytes of it are on the disk."""
        with self._step:
            if self._file.closed:
                return
            if self._file.tell() != size:
                message = "The body does not have the announced length; nothing was stored."
                raise DependencyException(message, retry=Retry.NO)
            os.fsync(self._file.fileno())
            self._path.replace(self._directory / name)

    def discard(self) -> None:
        """Close the file, and remove it unless it has its final name."""
        with self._step:
            if not self._file.closed:
                with suppress(FileNotFoundError):
                    self._path.unlink()
                self._file.close()


def _remove_unless_held(path: str) -> None:
    """Remove a temporary file that no running program has locked."""
    with suppress(FileNotFoundError, BlockingIOError, PermissionError), open(path, "rb") as file:  # noqa: PTH123
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)  # noqa: PTH108 - of the directory's own entry
