"""The report of a run in a file: an outcome a line, as CSV or JSON, written as soon as it is known."""

import csv
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from whaul.terminal import visible_json

COLUMNS: Final = (
    *("mediaId", "status", "phoneNumberId", "location", "fileSize", "mimeType", "sha256"),
    *("errorCode", "errorMessage", "mayPass"),
)
JSON_ENDINGS: Final = (".jsonl", ".ndjson", ".json")
CSV_ENDING: Final = ".csv"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would compute: https://owasp.org/www-community/attacks/CSV_Injection"""


class Report:
    """A file that is whole after each line, whatever ends the run."""

    def __init__(self, path: str) -> None:
        """Make the file, or empty it. Raises `OSError`, and ValueError for a name of another kind."""
        ending = os.path.splitext(path)[1].lower()  # noqa: PTH122 - a name is not text in every encoding
        if ending not in (CSV_ENDING, *JSON_ENDINGS):
            raise ValueError(f"expected a name that ends with {CSV_ENDING} or {JSON_ENDINGS[0]}")
        self._is_csv = ending == CSV_ENDING
        self._file = open(path, "w", encoding="utf-8", newline="", buffering=1)  # noqa: PTH123, SIM115 - see `close`
        if self._is_csv:
            self._row(COLUMNS)

    def write(self, document: Mapping[str, Any]) -> None:
        """Write an outcome. Raises `OSError`."""
        if not self._is_csv:
            self._file.write(visible_json(json.dumps(document, ensure_ascii=False, separators=(",", ":"))) + "\n")
            return
        error = document.get("error", {})
        bucket = document.get("bucket")
        told = {
            **document,
            "location": f"s3://{bucket}/{document['key']}" if bucket else document.get("path"),
            "errorCode": error.get("code"),
            "errorMessage": error.get("message"),
            "mayPass": str(error["mayPass"]).lower() if error else None,
        }
        self._row([_cell(told.get(column)) for column in COLUMNS])

    def close(self) -> None:
        """Close the file. Raises `OSError` if it cannot be written to its end."""
        self._file.close()

    def _row(self, cells: Any) -> None:
        csv.writer(self._file, lineterminator="\r\n").writerow(cells)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
