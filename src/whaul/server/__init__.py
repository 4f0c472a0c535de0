"""The HTTP side of the server: ASGI, the life of a request, limits, the processes."""

import signal

DRAIN_SIGNAL = signal.SIGUSR1
"""Tells a worker that the server is going to stop; the supervisor sends it when its notice begins."""
STOP_SIGNAL = signal.SIGUSR2
"""Tells a worker to stop. SIGTERM and SIGINT do not: they are for the supervisor, whoever else gets them."""
EVERY_SIGNAL = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, DRAIN_SIGNAL, STOP_SIGNAL})
"""Held back in the supervisor, which waits for them, and in a worker until it can obey."""
