"""What `whaul serve` becomes once it has checked the settings: `python -m whaul.server PLAN`."""

import sys

from whaul.server.supervisor import Plan, run
from whaul.telemetry import logs

if __name__ == "__main__":
    try:
        run(Plan.from_json(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - one line without the error's text, as commands have it
        sys.exit(f"whaul: unexpected error: {'; '.join(logs.without_text(error))}")
