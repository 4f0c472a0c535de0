"""What `whaul serve` becomes once it has checked the settings: `python -m whaul.server PLAN`."""

import os
import sys


def _take_less_memory() -> None:
    """Settle what must be so before libraries are loaded."""
    # structlog would load it, and pygments with it, for tracebacks that we do not print. It saves 4.6 MB a process.
    sys.modules["rich"] = None  # type: ignore[assignment]
    # The HTTP client's allocator would ask for huge pages, and use little of each. It saves 9 MB a worker.
    os.environ.setdefault("MIMALLOC_ALLOW_THP", "0")


if __name__ == "__main__":
    _take_less_memory()
    from whaul.server.supervisor import Plan, run
    from whaul.telemetry import logs

    try:
        run(Plan.from_json(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - one line without the error's text, as commands have it
        sys.exit(f"whaul: unexpected error: {'; '.join(logs.without_text(error))}")
