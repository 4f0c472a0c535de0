"""The HTTP side of the server: ASGI, the life of a request, limits."""

import signal

DRAIN_SIGNAL = signal.SIGUSR1
"""Tells a worker to take no new calls; the supervisor sends it to its workers on SIGTERM."""
