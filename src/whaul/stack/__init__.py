"""A whole whaul on one machine, for `whaul demo`, `whaul dev` and tests."""
