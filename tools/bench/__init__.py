"""`./run bench`: whaul and its rivals, side by side on this machine."""
