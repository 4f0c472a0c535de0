"""Writes the board, the alerts with their tests, and the page about them: `python -m tools.monitoring`."""

import sys

from tools.monitoring.files import ROOT, files

for path, text in files().items():
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)} written\n")
