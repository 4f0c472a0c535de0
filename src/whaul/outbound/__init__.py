"""Outbound HTTP: the client, the hosts that it may call, what it trusts, and circuits for hosts that fail."""
