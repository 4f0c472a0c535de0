"""Calls to the outside: the HTTP client, the hosts it may reach, and circuits for those that fail."""
