"""Where the media are that were added: in a temporary folder, or in one from which the next simulator goes on."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from whaul.simulator.content import Content, Generated, OnDisk
from whaul.simulator.media import Media, MediaOptions, Origin

DESCRIPTION = ".json"
LAST_ID = "last-id"


class _Description(msgspec.Struct):
    """What is known of a media beside its bytes."""

    id: str
    mime_type: str
    phone_number_id: str
    origin: Origin
    expires_at: float | None
    options: MediaOptions
    path: str | None = None
    """Its bytes; a path in the folder itself is relative."""
    generated: tuple[int, int] | None = None
    """Or the size and the seed that they are made of."""


class MediaStore:
    """Holds media. With a `folder` it is as it was left, whatever ended the simulator; without, nothing stays."""

    def __init__(self, folder: Path | None) -> None:
        self._stays = folder is not None
        self._folder = folder.absolute() if folder is not None else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def new_file(self) -> Path:
        """Name a file that is not there yet, for the bytes of a media."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="whaul-simulator-"))
        return self._folder / secrets.token_hex(8)

    def put(self, media: Media) -> None:
        """Keep a media that was added."""
        if self._stays:
            path, generated = self._where(media.content)
            described = _Description(
                media.id,
                media.mime_type,
                media.phone_number_id,
                media.origin,
                media.expires_at,
                media.options,
                path,
                generated,
            )
            self._write(media.id + DESCRIPTION, msgspec.json.encode(described))

    def change(self, media: Media) -> None:
        """Keep how a media is shown now, if it is one that was added."""
        description = self._description(media)
        if description is not None and description.exists():
            changed = msgspec.structs.replace(_read(description), options=media.options)
            self._write(description.name, msgspec.json.encode(changed))

    def _description(self, media: Media) -> Path | None:
        return self._folder / (media.id + DESCRIPTION) if self._folder is not None else None

    def _where(self, content: Content) -> tuple[str | None, tuple[int, int] | None]:
        if isinstance(content, Generated):
            return None, (content.size, content.seed)
        if isinstance(content, OnDisk):
            path = content.path
            return path.name if path.parent == self._folder else str(path.absolute()), None
        path = self.new_file()
        path.write_bytes(b"".join(content.blocks()))
        return path.name, None

    def _write(self, name: str, data: bytes) -> None:
        """Replace a file as a whole."""
        new = self.new_file()
        new.write_bytes(data)
        new.replace(new.with_name(name))

    def remove(self, media: Media) -> None:
        """Forget a media, and its bytes if they are in the folder."""
        description = self._description(media)
        if self._folder is None or description is None:
            return
        files = [media.content.path] if isinstance(media.content, OnDisk) else []
        if description.exists():
            path = _read(description).path
            files += [self._folder / path] if path else []
        for file in [description, *files]:
            if file.parent == self._folder:
                file.unlink(missing_ok=True)

    def load(self) -> Iterator[Media]:
        """Yield the media that are kept and whose bytes are still there."""
        if not self._stays or self._folder is None:
            return
        for description in sorted(self._folder.glob(f"*{DESCRIPTION}")):
            kept = _read(description)
            path = self._folder / kept.path if kept.path is not None else None  # an absolute path stays as it is
            if path is not None and not path.is_file():
                continue
            content = Generated(*kept.generated) if kept.generated else OnDisk(path) if path else None
            if content is not None:
                yield Media(
                    kept.id,
                    content,
                    kept.mime_type,
                    kept.phone_number_id,
                    kept.origin,
                    kept.expires_at,
                    kept.options,
                )

    def last_id(self, known: int) -> int:
        """The last id that was given, as far as `known` or kept."""
        kept = self._folder / LAST_ID if self._stays and self._folder is not None else None
        return max(known, int(kept.read_text())) if kept is not None and kept.exists() else known

    def keep_last_id(self, number: int) -> None:
        """Remember an id, so that no other media ever gets it."""
        if self._stays:
            self._write(LAST_ID, str(number).encode())

    def clear(self) -> None:
        """Forget all media, but not which ids were given."""
        if not self._stays or self._folder is None:
            self.close()
            return
        for file in self._folder.iterdir():
            if file.name != LAST_ID:
                file.unlink()

    def close(self) -> None:
        """Remove what does not stay."""
        if self._folder is not None and not self._stays:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _read(description: Path) -> _Description:
    return msgspec.json.decode(description.read_bytes(), type=_Description)
