"""How much room the database has on its disk, looked at when it is asked for."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from whaul.telemetry.instruments import gauge_family


class DiskMetrics(Collector):
    """Those of one folder's disk."""

    folder: Path | None = None
    """Where the database is; None if that is another machine's matter."""

    def collect(self) -> Iterable[Metric]:
        """Make the samples."""
        if self.folder is None:
            return
        with suppress(OSError):  # a folder that is gone has no room to speak of
            disk = os.statvfs(self.folder)
            yield gauge_family("whaul_disk_free_bytes", disk.f_bavail * disk.f_frsize)
            yield gauge_family("whaul_disk_bytes", disk.f_blocks * disk.f_frsize)
