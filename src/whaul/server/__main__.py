"""What `whaul serve` becomes once it has checked the settings: `python -m whaul.server PLAN`."""

import sys

from whaul.server.supervisor import Plan, run

if __name__ == "__main__":
    run(Plan.from_json(sys.argv[1]))
