"""Servers behind nginx, restarted and upgraded in turn under load: `./run restarts`, and a test of the suite."""
