"""`python -m whaul`: the same as the `whaul` command."""

from whaul.cli import main

main()
