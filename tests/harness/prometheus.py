"""A real Prometheus on a loopback port, of Debian's package, and its promtool."""

import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from harness.waiting import eventually
from tools.debian import done, unpacked
from whaul.stack.processes import free_ports


@dataclass(frozen=True)
class Programs:
    """The two programs."""

    prometheus: str
    promtool: str

    def check(self, *arguments: str | Path, given: bytes = b"") -> str:
        """Run promtool; return what it says, or raise MachineError with it."""
        return done([self.promtool, *arguments], input=given.decode(), stdin=None)


@contextmanager
def programs() -> Iterator[Programs]:
    """Find them, or fetch them. Raises MachineError."""
    found = [shutil.which(name) for name in ("prometheus", "promtool")]
    with tempfile.TemporaryDirectory(prefix="whaul-prometheus-") as folder:
        if None in found:
            binaries = unpacked("prometheus", Path(folder)) / "usr" / "bin"
            found = [str(binaries / name) for name in ("prometheus", "promtool")]
        yield Programs(*map(str, found))


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an expression at this moment."""
        result: list[dict[str, Any]] = self._get("query", query=expr)["result"]
        return result

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that fire or are pending."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """The rules, as they were evaluated last."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=30) as answer:
            return json.load(answer)["data"]

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def prometheus(found: Programs, folder: Path, targets: Sequence[str], rules: Path) -> Iterator[Prometheus]:
    """Run one that scrapes these every second, and evaluates the rules as often."""
    with free_ports(1) as [port]:
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "whaul", "static_configs": [{"targets": list(targets)}]}],
        }
        file = folder / "prometheus.json"
        file.write_text(json.dumps(configuration), encoding="utf-8")
        command = [
            found.prometheus,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (
            (folder / "prometheus.log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as process,
        ):
            try:
                running = Prometheus(f"http://127.0.0.1:{port}")
                eventually(running.is_ready)
                yield running
            finally:
                process.terminate()
