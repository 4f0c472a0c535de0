"""Where the files of a run go: what people write for a place, and what that is."""

import re
from typing import Final

from whaul.errors import ApiError
from whaul.storage.naming import object_key

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
SCHEMES: Final = frozenset(
    {"abfs", "az", "azure", "b2", "file", "ftp", "gcs", "gs", "hdfs", "http", "https", "minio", "r2", "s3", "s3a"}
    | {"s3n", "sftp", "ssh", "swift", "wasb"}
)
"""Words before a colon that mean a store. Before another one stands a folder's name: `2026-11-28T10:30`."""


def s3_place(text: str) -> tuple[str, str] | None:
    """Read bucket and prefix of a place; None for a folder. Raises ValueError for what is neither."""
    scheme = _SCHEME.fullmatch(text)
    is_folder = text and "://" not in text and not (scheme and scheme[1].lower() in SCHEMES)
    if is_folder and not (scheme and scheme[2].startswith("/")):
        return None
    if scheme and scheme[1].lower() == "file":
        raise ValueError(f"{text!r}: give the folder's path alone, without file:")
    if scheme and scheme[1].lower() not in {"s3", "s3a", "s3n"}:
        raise ValueError(
            f"{text!r}: whaul stores into S3 and folders only; expected s3://bucket/prefix, or a directory"
        )
    match = _S3.fullmatch("s3" + text[2:] if text[:2] == "S3" else text)
    if not match:
        raise ValueError(f"{text!r}: expected s3://bucket/prefix, or a directory (./{text} for one of that name)")
    bucket, prefix = match[1], match[2] or ""
    try:
        object_key(prefix, "0" * 100, ".ext", exact=False)
    except ApiError as error:
        raise ValueError(error.message) from None
    return bucket, prefix
